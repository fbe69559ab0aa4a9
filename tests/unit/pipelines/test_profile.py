import sys
from pathlib import Path

import pytest

from cadnet.config import ConfigError
from pipelines import profile

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = (ROOT / "params" / "ci.yaml").read_text("utf-8")
    (tmp_path / "params").mkdir()
    for name in ("small", "large"):
        (tmp_path / "params" / f"{name}.yaml").write_text(text.replace("smoke test", name), "utf-8")
    (tmp_path / "params.yaml").write_bytes((tmp_path / "params/small.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(project: Path) -> bytes:
    return (project / "params.yaml").read_bytes()


def test_switching_there_and_back_changes_nothing_else(project: Path) -> None:
    small, large = ((project / "params" / f"{name}.yaml").read_bytes() for name in ("small", "large"))
    profile.switch("large")
    assert params(project) == large
    profile.switch("small")
    assert params(project) == small
    assert (project / "params/large.yaml").read_bytes() == large


def test_own_edits_are_not_overwritten_unless_forced(project: Path) -> None:
    edited = params(project).replace(b"epochs: 1", b"epochs: 7")
    (project / "params.yaml").write_bytes(edited)
    with pytest.raises(ConfigError, match=r"holds your own edits.*params/<name>\.yaml.*--force"):
        profile.switch("large")
    assert params(project) == edited
    profile.switch("large", force=True)
    assert params(project) == (project / "params/large.yaml").read_bytes()


def test_edits_saved_as_a_profile_are_no_longer_in_the_way(project: Path) -> None:
    edited = params(project).replace(b"epochs: 1", b"epochs: 7")
    for name in ("params.yaml", "params/mine.yaml"):
        (project / name).write_bytes(edited)
    profile.switch("large")
    profile.switch("mine")
    assert params(project) == edited


def test_a_missing_params_file_is_made(project: Path) -> None:
    (project / "params.yaml").unlink()
    profile.switch("large")
    assert params(project) == (project / "params/large.yaml").read_bytes()


def test_a_profile_that_is_wrong_is_not_taken(project: Path) -> None:
    broken = params(project).replace(b"epochs: 1", b"epoch: 1")
    (project / "params/broken.yaml").write_bytes(broken)
    before = params(project)
    with pytest.raises(ConfigError, match=r"params/broken\.yaml: .*train\.epoch: unknown key"):
        profile.switch("broken")
    assert params(project) == before


def test_an_unknown_profile_lists_the_choices(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["profile", "huge"])
    with pytest.raises(SystemExit) as caught:
        profile.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "error: there is no profile 'huge'; choose one of ['large', 'small']\n"
    )


def test_the_command_says_what_it_did(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["profile", "large"])
    profile.main()
    assert capsys.readouterr().out == "params.yaml is now the profile 'large'\n"


def test_the_shipped_profiles_are_those_the_documents_name() -> None:
    shipped = {path.stem for path in (ROOT / "params").glob("*.yaml")}
    assert {"default", "paper", "ci"} <= shipped
