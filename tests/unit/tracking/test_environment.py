"""Commit, data hash, environment and the invocation's key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from cadnet.tracking import Provenance, collect_provenance, invocation_key
from cadnet.tracking.environment import dvc_md5, git_commit, git_dirty


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    answer = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CADNET_INVOCATION", raising=False)
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0123.dir\n  path: data\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_provenance_of_a_clean_commit(repository: Path) -> None:
    provenance = collect_provenance(repository)
    assert provenance.commit == git(repository, "rev-parse", "HEAD")
    assert provenance.dirty is False
    assert provenance.data_md5 == "0123.dir"
    assert provenance.environment["torch"] == torch.__version__
    assert provenance.environment["packages"]["mlflow"].startswith("3.")
    assert provenance.environment["cpu_count"] >= 1
    tags = provenance.tags()
    assert tags["git_dirty"] == "false"
    assert tags["gpu"] == (", ".join(provenance.environment["gpus"]) or "none")


def test_only_code_and_settings_make_dirty(repository: Path) -> None:
    (repository / "dvc.lock").write_text("made by the run")
    (repository / "reports").mkdir()
    (repository / "reports" / "table.csv").write_text("made by the run")
    assert git_dirty(repository) is False
    (repository / "new_module.py").write_text("")
    assert git_dirty(repository) is True


def test_without_git_or_dvc_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (git_commit(tmp_path), git_dirty(tmp_path)) == (None, None)
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None
    assert Provenance().tags() == {"gpu": "none"}


@pytest.mark.parametrize("text", [None, "", "outs: []", "outs:\n- path: data", "[: broken"])
def test_unreadable_dvc_file_gives_no_hash(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "data.dvc").write_text(text)
    assert dvc_md5(tmp_path / "data.dvc") is None


def test_invocation_follows_params_commit_and_data(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [invocation_key(repository)]
    assert invocation_key(repository) == keys[0]
    (repository / "params.yaml").write_text("a: 2\n")
    keys.append(invocation_key(repository))
    git(repository, "commit", "-qam", "second")
    keys.append(invocation_key(repository))
    (repository / "data.dvc").write_text("outs:\n- md5: 4567.dir\n")
    keys.append(invocation_key(repository))
    keys.append(invocation_key(repository, "absent.yaml"))
    assert len(set(keys)) == 5
    monkeypatch.setenv("CADNET_INVOCATION", "nightly-7")
    assert invocation_key(repository) == "nightly-7"
