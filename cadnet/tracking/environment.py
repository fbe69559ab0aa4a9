"""Where a result comes from: the commit, the data and the software that made it."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cadnet.files import file_digest, value_digest

_RESULTS = ("dvc.lock", "reports")
"""What a running pipeline itself writes into the work tree, so that it says nothing about the code."""


@dataclass(frozen=True)
class Provenance:
    """Commit, state of the work tree, DVC hash of the raw data, and the software environment."""

    commit: str | None = None
    dirty: bool | None = None
    data_md5: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        """Tags to find runs by; what is unknown has no tag."""
        tags = {
            "mlflow.source.git.commit": self.commit,
            "git_dirty": None if self.dirty is None else str(self.dirty).lower(),
            "dvc.data_md5": self.data_md5,
            "gpu": ", ".join(self.environment.get("gpus", ())) or "none",
        }
        return {key: value for key, value in tags.items() if value is not None}


def collect_provenance(root: Path | str) -> Provenance:
    """Describe the project at ``root`` and this process; works without git and without ``data.dvc``."""
    root = Path(root)
    commit = git_commit(root)
    return Provenance(
        commit=commit,
        dirty=git_dirty(root) if commit else None,
        data_md5=dvc_md5(root / "data.dvc"),
        environment=software_environment(),
    )


def git_commit(root: Path | str) -> str | None:
    """The commit checked out at ``root``, or None without git or before the first commit."""
    return _git(root, "rev-parse", "HEAD")


def git_dirty(root: Path | str) -> bool | None:
    """Whether the work tree differs from the commit, the pipeline's own results aside; None without git."""
    excluded = [f":(exclude){name}" for name in _RESULTS]
    status = _git(root, "status", "--porcelain", "--", ".", *excluded)
    return None if status is None else bool(status)


def _git(root: Path | str, *arguments: str) -> str | None:
    """Output of a git command, or None when git is absent, slow or refuses."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            # Without this a status would take the lock that a commit made at the same time needs.
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def dvc_md5(path: Path | str) -> str | None:
    """The hash DVC recorded in a ``.dvc`` file, or None when there is no such file or no hash in it."""
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
        digest = content["outs"][0]["md5"]
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return None
    return str(digest)


def invocation_key(root: Path | str, params: Path | str = "params.yaml") -> str:
    """Key that all stages of one pipeline invocation share.

    ``CADNET_INVOCATION`` when set; otherwise a digest of the parameter file, the commit and ``data.dvc``, so
    that stages started as separate processes agree without talking to each other.
    """
    given = os.environ.get("CADNET_INVOCATION", "").strip()
    if given:
        return given
    root = Path(root)
    files = [root / params, root / "data.dvc"]
    digests = [file_digest(file) if file.is_file() else None for file in files]
    return value_digest(digests, git_commit(root))[:16]


def software_environment() -> dict[str, Any]:
    """Python, platform, processor and GPU, and the version of every installed package."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpus else None,
        "gpus": gpus,
        "packages": _packages(),
    }


@functools.cache
def _packages() -> dict[str, str]:
    # Some 300 files are parsed for it, so once for each.
    found = [item.metadata for item in importlib.metadata.distributions()]
    named = {str(item["Name"]): str(item["Version"]) for item in found if item["Name"]}
    return dict(sorted(named.items(), key=lambda item: item[0].lower()))
