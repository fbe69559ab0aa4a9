"""Taking over raw data that others have changed, without losing what the user has put into the project."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from cadnet.config import ProjectParams, load_params
from pipelines.flows.commands import STOP, StageError
from pipelines.flows.dag import Changed
from pipelines.flows.pull import Tell, pull
from pipelines.trials import PARAMS


@dataclass(frozen=True)
class Tracked:
    """What a ``.dvc`` file tracks."""

    file: str
    path: str
    version: str
    """Digest of the content that the file names."""


def take_over(root: Path, inputs: set[str], changed: Changed, tell: Tell) -> bool:
    """Pull raw data that are missing or that others have changed; what the user has changed stays.

    Args:
        root: the project's folder.
        inputs: the ``.dvc`` files that track what stages read.
        changed: what DVC says has changed.
        tell: takes a line for the user.

    Returns:
        Whether anything was pulled, so that DVC has to be asked again.

    Raises:
        StageError: what is needed cannot be pulled.
        ConfigError: the parameters, which name what is needed, are not valid.
    """
    pulled = [_take_over_file(root, name, changed, tell) for name in sorted(inputs & changed.keys())]
    return any(pulled)


def _take_over_file(root: Path, file: str, changed: Changed, tell: Tell) -> bool:
    tracked = read_tracked(root, file)
    if not (root / tracked.path).exists():
        tell(f"{tracked.path} is missing and is pulled")
        return _pull_all(root, tracked, tell)
    if missing := [path for path in needed_paths(root, tracked) if not (root / path).exists()]:
        tell(f"missing and pulled: {', '.join(missing)}")
        pulled = [pull(root, path, tell) for path in missing]
        return any(pulled)
    version = local_version(root, tracked, changed)
    if version == tracked.version or changed[file].get(tracked.path) != "modified":
        # What DVC misses is its own copy.
        return False
    if version and is_published(root, file, version):
        tell(f"{tracked.path} holds an older version than {file} names, which is pulled")
        return _pull_all(root, tracked, tell)
    tell(f"{tracked.path} holds changes of this project, which are taken as they are")
    if tracked.version not in used_versions(root, tracked).values():
        tell(
            f"warning: {file} names data that no run here has used; to have those instead, keep yours "
            f"elsewhere and run: dvc checkout --force {file}"
        )
    return False


def read_tracked(root: Path, file: str) -> Tracked:
    """Read a ``.dvc`` file.

    Raises:
        StageError: it is not one.
    """
    try:
        (out,) = yaml.safe_load((root / file).read_text("utf-8"))["outs"]
        return Tracked(file, str(Path(file).parent / out["path"]), out["md5"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise StageError(f"{file} is not what `dvc add` writes for one file or folder: {error}") from error


def used_versions(root: Path, tracked: Tracked) -> dict[str, str]:
    """Return the stages that have read the tracked data, each with the digest of what it read."""
    path = root / "dvc.lock"
    stages = yaml.safe_load(path.read_text("utf-8"))["stages"] if path.exists() else {}
    return {
        name: dep["md5"]
        for name, stage in stages.items()
        for dep in stage.get("deps", [])
        if dep["path"] == tracked.path and "md5" in dep
    }


def local_version(root: Path, tracked: Tracked, changed: Changed) -> str | None:
    """Return the digest of the data as they lie there, None if no run has used them like that."""
    used = used_versions(root, tracked)
    return next((used[name] for name in used if tracked.path not in changed.get(name, {})), None)


def is_published(root: Path, file: str, version: str) -> bool:
    """Whether git knows ``file`` with this version, so that replacing the data loses no work of the user."""
    # Not the stash: what a user has put aside there is not published.
    places = ("--branches", "--remotes", "--tags", "HEAD")
    command = ["git", "log", "--format=%h", f"-S{version}", *places, "--", file]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return answer.returncode == 0 and bool(answer.stdout.strip())


def needed_paths(root: Path, tracked: Tracked) -> list[str]:
    """Return what the datasets to prepare are made of, as far as it is tracked.

    Raises:
        ConfigError: the parameters are not valid.
    """
    if not (root / PARAMS).exists():
        return []
    params = load_params(root / PARAMS)
    paths = {_raw_path(params, name) for name in params.prepare}
    return sorted(path for path in paths if Path(path).is_relative_to(tracked.path))


def _raw_path(params: ProjectParams, dataset: str) -> str:
    return params.datasets[dataset].raw


def _pull_all(root: Path, tracked: Tracked, tell: Tell) -> bool:
    """Pull all that is tracked, or where that cannot be had, what is needed of it."""
    try:
        return pull(root, tracked.file, tell)
    except StageError as error:
        needed = needed_paths(root, tracked)
        if STOP.is_set() or not needed:
            raise
        tell(f"warning: {error}")
        tell(f"only what is needed is pulled: {', '.join(needed)}")
    pulled = [pull(root, path, tell) for path in needed]
    return any(pulled)
