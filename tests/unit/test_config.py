"""The parameter file: what it may hold, and what is said about what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cadnet.config import (
    AbptParams,
    ConfigError,
    LineParams,
    ProjectParams,
    Range,
    ScreenParams,
    SemiParams,
    SynLCDParams,
    load_params,
)
from pipelines.profile import load_profile

FOLDER = Path(__file__).parents[2] / "params"
PROFILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
GOOD = """
run:
  scale: "small: 64 px"
  datasets: [lcd]
  methods: [cadnet, plain]
  seeds: [0, 1]
prepare: [lcd]
datasets:
  lcd:
    preparer: synlcd
    size: 64
    line: {areas: [2], width: {low: 3, high: 9, step: 3}}
methods:
  cadnet:
    title: CADNet
    model: cadnet
    options: {decoder: add, dropout: 0.1}
    family: transformer
    recipe: &transformer {optimizer: adamw, lr: 0.002, weight_decay: 0, schedule: cosine}
    loss: ce+bcl
    contrastive_weight: 0.02
  plain: {title: Plain, model: segformer, family: transformer, recipe: *transformer}
train:
  epochs: 5
  batch_size: 8
  crop: 64
"""


def load(folder: Path, text: str | bytes) -> ProjectParams:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_params(path)


def message(folder: Path, text: str | bytes) -> str:
    """The error of a wrong file; it always begins with the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    error = str(caught.value)
    assert error.startswith(str(folder / "params.yaml"))
    return error.removeprefix(str(folder / "params.yaml")).removeprefix(": ")


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} should occur once"
    return text.replace(old, new)


class TestGoodFile:
    def test_values_are_typed_and_have_defaults(self, tmp_path: Path) -> None:
        params = load(tmp_path, GOOD)
        assert params.run.seeds == (0, 1)
        assert params.datasets["lcd"].line.width == Range(low=3, high=9, step=3)
        assert params.methods["cadnet"].options == {"decoder": "add", "dropout": 0.1}
        assert params.methods["plain"].recipe.weight_decay == 0.0
        assert (params.evaluate.thresholds, params.evaluate.defect_sizes) == (1000, (0.001, 0.01))
        assert params.methods["plain"].loss == "ce" and params.methods["plain"].encoder_weights is None
        assert params.datasets["lcd"].abpt == AbptParams()
        with pytest.raises(ValueError, match="frozen"):
            params.train.epochs = 6  # type: ignore[misc]

    def test_a_date_in_a_text_is_text(self, tmp_path: Path) -> None:
        assert load(tmp_path, changed(GOOD, '"small: 64 px"', "2024-01-31")).run.scale == "2024-01-31"


class TestRange:
    @pytest.mark.parametrize(
        ("values", "low", "high", "count"),
        [
            (LineParams().width, 3, 33, 11),
            (LineParams().opacity, 0.1, 1.0, 10),
            (AbptParams().opacity, 0.1, 1.0, 10),
            (AbptParams().grey_threshold, 50, 200, 16),
            (ScreenParams().brightness, 1, 6, 6),
            (ScreenParams().contrast, 0.5, 1.5, 11),
            (ScreenParams().iso_noise, 0.1, 1.0, 10),
            (ScreenParams().rgb_deviation, 3, 33, 11),
        ],
    )
    def test_defaults_are_those_of_table_1(self, values: Range, low: float, high: float, count: int) -> None:
        assert (values.low, values.high, values.count, values.value(0)) == (low, high, count, low)
        assert values.value(count - 1) == pytest.approx(high)
        params = SynLCDParams()
        assert (params.defective_per_pattern, params.clean_per_pattern, params.size) == (300, 300, 512)

    @pytest.mark.parametrize(("high", "count"), [(0.1, 1), (0.3, 3), (0.35, 3), (1.0, 10)])
    def test_count_is_exact_despite_rounding(self, high: float, count: int) -> None:
        assert Range(low=0.1, high=high, step=0.1).count == count

    @pytest.mark.parametrize(
        ("line", "key"),
        [
            ("line: {width: {low: 9, high: 3, step: 3}}", "line.width: low 9.0 is above high 3.0"),
            ("line: {width: {low: 3, high: 9, step: 0}}", "line.width.step"),
            ("line: {opacity: {low: 0.5, high: 7, step: 1}}", "line.opacity: low and high must lie between"),
            ("line: {areas: [0]}", "line.areas.0"),
            ("abpt: {clusters: {low: 0, high: 3, step: 1}}", "abpt.clusters"),
            ("abpt: {grey_threshold: {low: 50, high: 256, step: 1}}", "abpt.grey_threshold"),
            ("screen: {contrast: {low: -1, high: 1, step: 1}}", "screen.contrast"),
            ("screen: {probability: 1.5}", "screen.probability"),
        ],
    )
    def test_values_no_screen_can_have(self, tmp_path: Path, line: str, key: str) -> None:
        text = changed(GOOD, "line: {areas: [2], width: {low: 3, high: 9, step: 3}}", line)
        assert message(tmp_path, text).startswith(f"datasets.lcd.{key}")


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("epochs: 5", "epochs: 5\n  epoch: 5", "train.epoch: unknown key; check its spelling or remove"),
            ("epochs: 5", "epochs: 0", "train.epochs: Input should be greater than 0 (got 0)"),
            ("epochs: 5", "epochs: five", "train.epochs: Input should be a valid integer (got 'five')"),
            ("epochs: 5", "epochs: true", "train.epochs: Input should be a valid integer (got True)"),
            ("  epochs: 5\n", "", "train.epochs: missing; add it"),
            ("batch_size: 8", "batch_size: 1", "train.batch_size: "),
            ("crop: 64", "crop: 65", "train.crop: Input should be a multiple of 32"),
            ("lr: 0.002", "lr: .inf", "methods.cadnet.recipe.lr: Input should be a finite number"),
            ("lr: 0.002", "lr: .nan", "methods.cadnet.recipe.lr: Input should be a finite number"),
            ("optimizer: adamw", "optimizer: adam", "methods.cadnet.recipe.optimizer: "),
            ("loss: ce+bcl", "loss: bcl", "methods.cadnet.loss: Input should be 'ce', 'ce+cl', "),
            ("loss: ce+bcl", "loss: few-label", "methods.cadnet.loss: 'few-label' is called 'cl+cl' now"),
            ("schedule: cosine", "schedule: onecycle", "methods.cadnet.recipe.schedule: 'onecycle' is"),
            ("    size: 64", "    registration: {}", "datasets.lcd.registration: 'registration' is called"),
            ("preparer: synlcd", "preparer: pcb", "datasets.lcd: preparer 'pcb' is unknown; choose one of"),
            ("    preparer: synlcd\n", "", "datasets.lcd: preparer is missing; add"),
            ("seeds: [0, 1]", "seeds: [-1]", "run.seeds.0: "),
            ("seeds: [0, 1]", "seeds: []", "run.seeds: Tuple should have at least 1 item"),
            ("seeds: [0, 1]", "seeds: [1, 1]", "run: seeds [1, 1] names something twice"),
            ("datasets: [lcd]", "datasets: [../lcd]", "run.datasets.0: String should match pattern"),
            ("datasets: [lcd]", "datasets: [pcb]", "run.datasets names ['pcb'], which is not defined"),
            ("[cadnet, plain]", "[cadnet, unet]", "run.methods names ['unet'], which is not defined"),
            ("epochs: 5", "epochs: 5\n  recipes: {}", "train.recipes: is methods.*.recipe now"),
            ("crop: 64", "crop: 64\n  scale: [2.0, 0.5]", "train: scale [2.0, 0.5] must ascend; swap"),
        ],
    )  # fmt: skip
    def test_key_value_and_fix_are_named(self, tmp_path: Path, old: str, new: str, error: str) -> None:
        assert message(tmp_path, changed(GOOD, old, new)).startswith(error)

    def test_other_messages(self, tmp_path: Path) -> None:
        error = message(tmp_path, changed(GOOD, "lr: 0.002", "lr: 2e-3"))
        assert "write it without quotes, and 1e-3 as 0.001 (got '2e-3')" in error
        assert message(tmp_path, GOOD.partition("train:")[0]) == "train: missing; add it"
        twice = changed(GOOD, "epochs: 5", "epochs: 5\n  crop: 32") + "\nrun: {}\n"
        assert message(tmp_path, twice) == "given twice: run, train.crop; keep one of each"
        error = message(tmp_path, GOOD + "evaluate: {defect_sizes: [0.01, 0.001]}\n")
        assert error.startswith("evaluate: defect_sizes [0.01, 0.001] must ascend")

    def test_all_mistakes_are_listed_together(self, tmp_path: Path) -> None:
        text = changed(GOOD, "epochs: 5", "epochs: 0\n  epoch: 5").replace("size: 64\n", "size: big\n")
        parts = message(tmp_path, text).split("; ")
        keys = {part.partition(":")[0] for part in parts if ":" in part}
        assert keys == {"train.epochs", "train.epoch", "datasets.lcd.size"}


class TestFile:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
            load_params(tmp_path / "none.yaml")

    @pytest.mark.parametrize("text", ["run: [1, 2", b"\xff\xfe\x00", "\tx: 1"])
    def test_not_yaml(self, tmp_path: Path, text: str | bytes) -> None:
        assert message(tmp_path, text).startswith(" is not YAML: ")

    @pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just text"])
    def test_no_sections(self, tmp_path: Path, text: str) -> None:
        assert message(tmp_path, text).startswith(" is empty or holds no sections; restore it with")

    def test_yaml_tags_run_no_code(self, tmp_path: Path) -> None:
        bait = tmp_path / "bait"
        text = changed(GOOD, '"small: 64 px"', f"!!python/object/apply:os.mkdir [{str(bait)!r}]")
        assert message(tmp_path, text).startswith(" is not YAML: ")
        assert not bait.exists()


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_holds_what_dvc_reads(profile: str) -> None:
    """DVC reads the file itself and knows no defaults."""
    params = load_profile(profile, FOLDER)
    assert {*params.grids, "prepare", "semi", "products"} <= params.model_fields_set
    for grid in params.grids.values():
        assert {"datasets", "methods", "seeds"} <= grid.model_fields_set
    assert params.semi.model_fields_set == set(SemiParams.model_fields)
    assert set(params.products) <= {"screen"}
