"""Raw data that are missing or that somebody has changed, in a project of DVC and git."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.flows import inputs
from pipelines.flows.commands import StageError
from pipelines.flows.inputs import pull, take_over
from pipelines.flows.project import default_remote, read_project
from pipelines.profile import compose
from tests.integration.shell_project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("inputs")]

STAGES = """\
stages:
  prepare:
    cmd: cat data/*/*/* > prepared
    deps: [data]
    outs: [prepared]
"""
PATTERN = "data/synlcd/patterns/1"
OWN = "data/board/images/1"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


class Data:
    """A project whose data are as its one run has used them; the branch ``news`` has others."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str) -> None:
        subprocess.run(command, cwd=self.root, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", *IDENTITY, "commit", "--quiet", "--no-verify", "--message", message)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def content(self) -> dict[str, str]:
        files = (path for path in (self.root / "data").rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_text() for path in files}

    def take_over(self) -> tuple[bool, str]:
        """Whether anything was pulled, and what was logged."""
        lines: list[str] = []
        pulled = take_over(self.root, read_project(self.root), lines.append)
        return pulled, "\n".join(lines)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("inputs")
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    patch.setenv("DVC_NO_ANALYTICS", "1")
    patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
    data = Data(folder / "project")
    data.write("dvc.yaml", STAGES)
    data.write(PATTERN, "old")
    data.write(".gitignore", "/data\n/prepared\n")
    data.write("params.yaml", compose("ci", ROOT / "params"))
    data.run("git", "init", "--quiet", "--initial-branch=main")
    data.run("dvc", "init", "--quiet")
    data.run("dvc", "remote", "add", "--quiet", "--default", "store", str(folder / "remote"))
    data.run("dvc", "add", "--quiet", "data")
    data.run("dvc", "push", "--quiet")
    data.commit("old")
    data.run("dvc", "repro", "--quiet")
    data.run("git", "checkout", "--quiet", "-b", "news")
    data.write(PATTERN, "new")
    data.run("dvc", "add", "--quiet", "data")
    data.run("dvc", "push", "--quiet")
    data.run("git", *IDENTITY, "commit", "--quiet", "--no-verify", "--message", "new", "data.dvc")
    data.run("git", "checkout", "--quiet", "main")
    data.run("dvc", "checkout", "--quiet", "data.dvc")
    assert read_project(data.root).changed == {}
    yield data
    patch.undo()


@pytest.fixture
def data(origin: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setattr(inputs, "PAUSES", ())
    shutil.copytree(origin.root, tmp_path / "project", symlinks=True)
    return Data(tmp_path / "project")


def test_missing_data_are_pulled_and_of_partly_missing_data_only_that_part(data: Data) -> None:
    assert data.take_over() == (False, "")
    shutil.rmtree(data.root / "data")
    shutil.rmtree(data.root / ".dvc/cache")
    pulled, lines = data.take_over()
    assert pulled, lines
    assert lines.startswith("data is missing and is pulled\n")
    assert data.content() == {PATTERN: "old"}
    shutil.rmtree(data.root / "data/synlcd")
    data.write(OWN, "own")
    pulled, lines = data.take_over()
    assert pulled, lines
    assert lines.startswith("missing and pulled: data/synlcd/patterns\n")
    assert data.content() == {PATTERN: "old", OWN: "own"}


def test_what_others_have_published_is_pulled_over_what_was_published_before(data: Data) -> None:
    data.run("git", "checkout", "--quiet", "news")
    pulled, lines = data.take_over()
    assert pulled, lines
    assert lines.startswith("data holds an older version than data.dvc names, which is pulled\n")
    assert data.content() == {PATTERN: "new"}
    assert set(read_project(data.root).changed) == {"prepare"}


def test_what_the_user_has_changed_stays(data: Data) -> None:
    data.write(OWN, "own")
    taken = "data holds changes of this project, which are taken as they are"
    assert data.take_over() == (False, taken)
    # Others have changed the data, too: neither is thrown away.
    data.run("git", "checkout", "--quiet", "news")
    pulled, lines = data.take_over()
    assert not pulled
    assert lines.splitlines() == [
        taken,
        "warning: data.dvc names data that no run here has used; to have those instead, keep yours elsewhere "
        "and run: dvc checkout --force data.dvc",
    ]
    assert data.content() == {PATTERN: "old", OWN: "own"}


@pytest.mark.parametrize("undo", [("checkout", "--", "data.dvc"), ("stash",)], ids=["checkout", "stash"])
def test_what_the_user_has_added_stays_though_git_has_forgotten_it(undo: tuple[str, ...], data: Data) -> None:
    data.write(OWN, "own")
    data.run("dvc", "repro", "--quiet")
    data.run("git", *IDENTITY, *undo)
    if undo == ("stash",):
        data.run("git", "checkout", "--quiet", "news")
    pulled, lines = data.take_over()
    assert not pulled
    assert lines.startswith(
        "data holds changes of this project, which are taken as they are\nwarning: data.dvc"
    )
    assert data.content() == {PATTERN: "old", OWN: "own"}


def test_without_git_nothing_is_replaced(data: Data) -> None:
    data.run("git", "checkout", "--quiet", "news")
    shutil.rmtree(data.root / ".git")
    data.run("dvc", "config", "core.no_scm", "true")
    assert not data.take_over()[0]
    assert data.content() == {PATTERN: "old"}


def test_a_remote_that_cannot_be_reached_is_named_after_three_tries(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "PAUSES", (0.01, 0.01))
    shutil.rmtree(data.root / "data")
    shutil.rmtree(data.root / ".dvc/cache")
    data.run("dvc", "remote", "modify", "store", "url", str(tmp_path / "away"))
    lines: list[str] = []
    with pytest.raises(StageError) as caught:
        pull(data.root, "data.dvc", lines.append)
    assert str(caught.value) == (
        "data.dvc could not be pulled: failed to pull data from the cloud - Checkout failed for following "
        f"targets: data; see that the remote 'store' ({tmp_path / 'away'}) can be reached and that whoever "
        "changed the data has run `dvc push`, then start again"
    )
    assert len([line for line in lines if "is tried again" in line]) == 2


def test_files_that_nobody_has_a_copy_of_are_not_removed(data: Data) -> None:
    data.write(OWN, "own")
    lines: list[str] = []
    with pytest.raises(StageError, match=r"unsaved files.*; move them away, or keep them"):
        pull(data.root, "data.dvc", lines.append)
    assert not [line for line in lines if "is tried again" in line]
    assert data.content() == {PATTERN: "old", OWN: "own"}


def test_an_optional_dataset_that_cannot_be_had_does_no_harm(data: Data) -> None:
    data.write("data/pku_pcb/images/1", "photograph")
    data.run("dvc", "add", "--quiet", "data")
    shutil.rmtree(data.root / "data")
    shutil.rmtree(data.root / ".dvc/cache/files/md5" / _first_byte(data, "photograph"))
    pulled, lines = data.take_over()
    assert pulled, lines
    assert "warning: data.dvc could not be pulled: " in lines
    assert "only what is needed is pulled: data/synlcd/patterns" in lines
    assert data.content() == {PATTERN: "old"}


def test_the_remote_is_named_without_credentials_and_without_one_nothing_is_pulled(data: Data) -> None:
    data.run("dvc", "remote", "modify", "store", "url", "https://user:word@host.example/data")
    assert default_remote(data.root) == "'store' (https://host.example/data)"
    data.run("dvc", "remote", "remove", "store")
    shutil.rmtree(data.root / "data")
    assert data.take_over() == (
        False,
        "data is missing and is pulled\nno DVC remote is set up, so data.dvc is not pulled",
    )


def _first_byte(data: Data, text: str) -> str:
    """The folder of the cache with a file of this content."""
    cache = data.root / ".dvc/cache/files/md5"
    (found,) = (path for path in cache.rglob("*") if path.is_file() and path.read_text() == text)
    return found.parent.name
