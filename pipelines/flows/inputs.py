"""Taking over raw data that others have changed, without losing what the user has put into the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cadnet.config import load_params
from cadnet.signals import STOPPED
from pipelines.flows.commands import STOP, Log, StageError, run_command, without_advice
from pipelines.flows.project import Project, default_remote
from pipelines.trials import PARAMS

PULL_LIMIT = 6 * 3600.0
"""Seconds a pull may take."""
PAUSES = (5.0, 30.0)
"""Seconds before a pull that failed is tried again."""

_UNSAVED = "unsaved files"
"""DVC's words for files it has no copy of; it does not remove them unless told to."""


def take_over(root: Path, project: Project, log: Log) -> bool:
    """Pull raw data that are missing or that others have changed; what the user has changed stays.

    Returns:
        Whether anything was pulled, so that DVC has to be asked again.

    Raises:
        StageError: what is needed cannot be pulled.
        ConfigError: the parameters, which name what is needed, are not valid.
    """
    changed = sorted(project.graph.inputs & project.changed.keys())
    pulled = [_take_over_file(root, name, project, log) for name in changed]
    return any(pulled)


def _take_over_file(root: Path, file: str, project: Project, log: Log) -> bool:
    path, named = project.tracked[file]
    if not (root / path).exists():
        log(f"{path} is missing and is pulled")
        return _pull_all(root, file, path, log)
    if missing := [part for part in _needed_paths(root, path) if not (root / part).exists()]:
        log(f"missing and pulled: {', '.join(missing)}")
        pulled = [pull(root, part, log) for part in missing]
        return any(pulled)
    used = {stage: digests[path] for stage, digests in project.used.items() if path in digests}
    # The version of the data as they are now; None if no run has used them like that.
    version = next((used[name] for name in used if path not in project.changed.get(name, {})), None)
    if version == named or project.changed[file].get(path) != "modified":
        # What DVC misses is its own copy.
        return False
    if version and _is_published(root, file, version):
        log(f"{path} holds an older version than {file} names, which is pulled")
        return _pull_all(root, file, path, log)
    log(f"{path} holds changes of this project, which are taken as they are")
    if named not in used.values():
        log(
            f"warning: {file} names data that no run here has used; to have those instead, keep yours "
            f"elsewhere and run: dvc checkout --force {file}"
        )
    return False


def pull(root: Path, target: str, log: Log) -> bool:
    """Pull one target; returns whether there is a remote to pull from.

    Raises:
        StageError: it failed three times, or DVC would have to remove files it has no copy of.
    """
    remote = default_remote(root)
    if remote is None:
        log(f"no DVC remote is set up, so {target} is not pulled")
        return False
    for pause in (*PAUSES, None):
        try:
            run_command(["dvc", "--wait-for-lock", "pull", target], root, PULL_LIMIT, without_advice(log))
            break
        except StageError as error:
            if STOP.is_set():
                raise StageError(STOPPED) from None
            reason = _first_error(str(error))
            if pause is None or _UNSAVED in reason:
                raise StageError(f"{target} could not be pulled: {reason}; {_hint(reason, remote)}") from None
            log(f"warning: {target} could not be pulled and is tried again in {pause:g} s: {reason}")
            STOP.wait(pause)
    return True


def _hint(reason: str, remote: str) -> str:
    if _UNSAVED in reason:
        return "move them away, or keep them as this project's data with `dvc commit`"
    return (
        f"see that the remote {remote} can be reached and that whoever changed the data has run `dvc push`, "
        "then start again"
    )


def _first_error(text: str) -> str:
    """DVC's own error with the line after it, which may name the files."""
    lines = [line.strip() for line in text.splitlines()]
    start = next((number for number, line in enumerate(lines) if line.startswith("ERROR: ")), len(lines) - 1)
    return " ".join(lines[start : start + 2]).removeprefix("ERROR: ")


def _pull_all(root: Path, file: str, path: str, log: Log) -> bool:
    """Pull all that a ``.dvc`` file tracks or, where that is not available, what is needed of it."""
    try:
        return pull(root, file, log)
    except StageError as error:
        needed = _needed_paths(root, path)
        if STOP.is_set() or not needed:
            raise
        log(f"warning: {error}")
        log(f"only what is needed is pulled: {', '.join(needed)}")
    pulled = [pull(root, part, log) for part in needed]
    return any(pulled)


def _is_published(root: Path, file: str, version: str) -> bool:
    """Whether git knows ``file`` with this version, so that replacing the data loses no work of the user."""
    # Not the stash: what a user has put aside there is not published.
    refs = ("--branches", "--remotes", "--tags", "HEAD")
    command = ["git", "log", "--format=%h", f"-S{version}", *refs, "--", file]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return answer.returncode == 0 and bool(answer.stdout.strip())


def _needed_paths(root: Path, tracked: str) -> list[str]:
    """The parts of a tracked path that the datasets to prepare are made of."""
    if not (root / PARAMS).exists():
        return []
    params = load_params(root / PARAMS)
    paths = {params.datasets[name].raw for name in params.prepare}
    return sorted(path for path in paths if Path(path).is_relative_to(tracked))
