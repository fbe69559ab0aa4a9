"""The command that draws label lists, and the lists that come with the profiles."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import ConfigError, SynLCDParams, load_params
from cadnet.datasets.label_lists import read_label_list
from cadnet.images import write_png
from cadnet.synthesis.writer import plan_synlcd
from cadnet.writing.splits import read_splits
from pipelines import labels
from pipelines.profile import load_profile

ROOT = Path(__file__).parents[3]
PROFILES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
LIST = Path("params/labels/synlcd-line-10.csv")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_comes_with_the_list_it_draws(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = load_profile(profile, ROOT / "params")
    shutil.copytree(ROOT / "splits", tmp_path / "splits")
    monkeypatch.chdir(tmp_path)
    said = labels.generate(params)
    name = Path(params.semi.labels)
    assert name.read_bytes() == (ROOT / name).read_bytes()
    assert said.startswith(f"{name}, seed 0, each pattern of 01, 02, 03, 04, 05, 06: of ")
    drawn = read_label_list(name)
    assert drawn.fractions == params.semi.fractions
    count = 6 * sum(
        getattr(params.datasets[params.semi.dataset], f"{kind}_per_pattern")
        for kind in ("defective", "clean")
    )
    assert len(drawn.unlabelled) == round(params.semi.unlabelled * count)
    for fraction in drawn.fractions:
        # No batch can be filled with fewer.
        assert round(fraction * count) == len(drawn.labelled(fraction)) >= params.train.batch_size


def test_the_samples_are_those_that_will_be_prepared(project: Path) -> None:
    splits = read_splits("splits/synlcd.csv", "pattern")
    rng = np.random.default_rng(0)
    for name in splits:
        write_png(project / f"patterns/{name}.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    params = load_params("params.yaml").datasets["synlcd-line"]
    assert isinstance(params, SynLCDParams)
    plan = plan_synlcd(params.model_copy(update={"patterns": "patterns"}))
    planned = {
        unit.unit_id for unit in plan.units if unit.payload and splits[unit.payload.pattern] == "train"
    }
    rows = labels.training_rows(params)
    assert set(rows["sample_id"]) == planned
    assert rows["sample_id"].is_unique and set(rows["split"]) == {"train"}
    assert set(rows["group"]) == {name for name, split in splits.items() if split == "train"}
    assert list(rows.loc[rows["has_defect"], "sample_id"]) == [
        name for name in rows["sample_id"] if "-d" in name
    ]


def test_the_command_writes_once_and_says_what(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["labels"])
    labels.main()
    assert capsys.readouterr().out == (
        f"{LIST}, seed 0, each pattern of 01, 02, 03, 04, 05, 06: of 10 samples labelled 2 at 0.2, "
        "unlabelled 2\n"
    )
    text = LIST.read_text("utf-8")
    assert text.startswith("# seed 0, synlcd-line, labelled 0.2, unlabelled 0.2\nsample_id,use\nline-01-")
    assert "line-07-" not in text
    before = LIST.stat()
    labels.main()
    assert (LIST.stat().st_ino, LIST.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_list_is_kept_unless_it_may_be_replaced(
    project: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels.generate(load_params(), seed=0)
    text = LIST.read_text("utf-8")
    said = fails(labels.main, "--seed", "1")
    assert said.startswith(
        f"error: {LIST} holds another list than seed 1 and params.yaml give; repeat with --replace"
    )
    assert LIST.read_text("utf-8") == text
    monkeypatch.setattr(sys, "argv", ["labels", "--seed", "1", "--replace"])
    labels.main()
    assert LIST.read_text("utf-8").startswith("# seed 1, ")
    assert LIST.read_text("utf-8").splitlines()[2:] != text.splitlines()[2:]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("dataset", "", "semi.dataset in params.yaml is empty, so there is no list to draw; fill it in"),
        ("labels", "", "semi.labels in params.yaml is empty"),
        ("fractions", [], "semi.fractions in params.yaml is empty"),
        ("dataset", "nothing", "semi.dataset 'nothing' in params.yaml is not defined; name a subset such as"),
    ],
)
def test_what_cannot_be_drawn(
    edit: Callable[[str, object], None], key: str, value: object, said: str
) -> None:
    edit("semi.methods", [])  # only a grid that is off may be incomplete
    edit(f"semi.{key}", value)
    with pytest.raises(ConfigError) as caught:
        labels.generate(load_params())
    assert str(caught.value).startswith(said)


def test_a_dataset_of_photographs_has_no_list(edit: Callable[[str, object], None]) -> None:
    edit("datasets.board", {"preparer": "pku_pcb"})
    edit("semi.methods", [])
    edit("semi.dataset", "board")
    with pytest.raises(
        ConfigError, match=r"semi\.dataset 'board' in params\.yaml is not SynLCD; name a subset"
    ):
        labels.generate(load_params())
