"""Profiles: patches of the base, written into params.yaml without losing anybody's edits."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from cadnet.config import ConfigError, load_params
from pipelines import profile

ROOT = Path(__file__).parents[3]
PUBLIC = ["pku_pcb", "mvtec_ad"]
PATCH = """# A heading
# of two lines.
run: {scale: tiny, methods: [segformer]}
misalignment: {methods: []}
products: {screen: null}
datasets:
  synlcd: {size: 64}
methods:
  fcn: {recipe: {schedule: cosine, poly_power: null}}
  segformer: {recipe: {lr: 0.5}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params").mkdir()
    (tmp_path / "params/paper.yaml").write_bytes((ROOT / "params/paper.yaml").read_bytes())
    (tmp_path / "params/tiny.yaml").write_text(PATCH, "utf-8")
    monkeypatch.chdir(tmp_path)
    for name in PUBLIC:
        (tmp_path / "data" / name).mkdir(parents=True)
    profile.switch("paper")
    return tmp_path


def params(project: Path) -> str:
    return (project / "params.yaml").read_text("utf-8")


def test_a_patch_merges_replaces_and_removes(project: Path) -> None:
    base = yaml.safe_load(params(project))
    profile.switch("tiny")
    assert params(project).startswith("# A heading\n# of two lines.\nrun:")
    patched = yaml.safe_load(params(project))
    assert patched["run"] == base["run"] | {"scale": "tiny", "methods": ["segformer"]}
    assert patched["products"] == {}
    before, after = base["methods"], patched["methods"]
    assert {"schedule": "poly", "poly_power": 0.9}.items() <= before["fcn"]["recipe"].items()
    for name in ("fcn", "danet"):
        assert "poly_power" not in after[name]["recipe"] and after[name]["recipe"]["schedule"] == "cosine"
    assert after["segformer"]["recipe"] == before["segformer"]["recipe"] | {"lr": 0.5}
    assert after["cadnet"] == before["cadnet"]
    # What the base derives from an entry follows its patch.
    assert patched["datasets"]["synlcd-line"] == base["datasets"]["synlcd-line"] | {"size": 64}
    # The base's comments stay.
    assert "# Fig. 6: trained on each, tested on each. " in params(project)


def test_switching_back_gives_the_same_bytes(project: Path) -> None:
    before = params(project)
    profile.switch("tiny")
    assert params(project) != before
    profile.switch("paper")
    assert params(project) == before == (project / "params/paper.yaml").read_text("utf-8")


def test_own_edits_are_not_overwritten_unless_forced(project: Path) -> None:
    edited = params(project).replace("epochs: 30\n", "epochs: 7\n")
    (project / "params.yaml").write_text(edited, "utf-8")
    with pytest.raises(ConfigError, match=r"params/<name>\.yaml.*--force"):
        profile.switch("tiny")
    assert params(project) == edited
    profile.switch("tiny", force=True)
    assert yaml.safe_load(params(project))["datasets"]["synlcd"]["size"] == 64


def test_edits_saved_as_a_profile_are_no_longer_in_the_way(project: Path) -> None:
    edited = params(project).replace("  epochs: 30\n", "  epochs: 7\n")
    for name in ("params.yaml", "params/mine.yaml"):
        (project / name).write_text(edited, "utf-8")
    profile.switch("tiny")
    profile.switch("mine")
    assert yaml.safe_load(params(project)) == yaml.safe_load(edited)


def test_a_missing_params_file_is_made(project: Path) -> None:
    (project / "params.yaml").unlink()
    profile.switch("tiny")
    assert params(project) == profile.compose("tiny")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("train: {epoch: 1}", "train.epoch"),
        ("train: [", "not YAML"),
        ("", "no sections"),
        ("- 1", "no sections"),
    ],
)
def test_a_profile_that_is_wrong_is_not_taken(project: Path, text: str, fault: str) -> None:
    (project / "params/broken.yaml").write_text(text, "utf-8")
    before = params(project)
    with pytest.raises(ConfigError, match=rf"broken\.yaml.*{fault}"):
        profile.switch("broken")
    assert params(project) == before
    # It keeps nobody from choosing another.
    profile.switch("tiny")


def test_the_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["profile", "tiny"])
    profile.main()
    assert "'tiny'" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["profile", "huge"])
    with pytest.raises(SystemExit) as caught:
        profile.main()
    assert caught.value.code == 1
    assert "['paper', 'tiny']" in capsys.readouterr().err


def test_the_shipped_profiles_are_those_the_documents_name() -> None:
    shipped = {path.stem for path in (ROOT / "params").glob("*.yaml")}
    assert shipped == {"ci", "default", "grid-small", "paper", "semi-small"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "params").glob("*.yaml")))
def test_no_mapping_of_a_profile_is_shared(name: str) -> None:
    """`dvc exp run -S` writes every key again, in order: of two names for one mapping the later one wins."""
    seen: set[int] = set()
    nodes: list[object] = [YAML().load(profile.compose(name, ROOT / "params"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            assert id(node) not in seen, dict(node)
            seen.add(id(node))
            nodes += node.values()


@pytest.mark.parametrize("missing", [PUBLIC, PUBLIC[:1], PUBLIC[1:], []])
def test_datasets_without_raw_data_are_left_out_and_named(project: Path, missing: list[str]) -> None:
    whole = load_params(project / "params.yaml")
    for name in missing:
        (project / "data" / name).rmdir()
    assert profile.switch("paper") == missing
    left = load_params(project / "params.yaml")
    assert left.run.datasets == tuple(name for name in whole.run.datasets if name not in missing)
    assert set(whole.prepare) - set(left.prepare) == set(missing)
    assert left.datasets == whole.datasets
    # It still is the profile, also when the data have come since.
    for name in missing:
        (project / "data" / name).mkdir()
    assert profile.profile_of(params(project)) == "paper"
    assert profile.switch("paper") == []


def test_a_profile_of_nothing_else_keeps_what_is_missing(project: Path) -> None:
    text = PATCH.replace("scale: tiny", "scale: tiny, datasets: [pku_pcb]").replace(
        "run:", "ablation: null\nrun:"
    )
    (project / "params/tiny.yaml").write_text(text, "utf-8")
    (project / "data/pku_pcb").rmdir()
    assert profile.switch("tiny") == []
    assert load_params(project / "params.yaml").run.datasets == ("pku_pcb",)
