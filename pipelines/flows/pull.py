"""Getting data from DVC's remote, with retries."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.flows.commands import STOP, STOPPED, StageError, environment, is_advice, run_command

Tell = Callable[[str], None]
"""Takes a line for the user."""

LIMIT = 6 * 3600.0
"""Seconds a pull may take."""
PAUSES = (5.0, 30.0)
"""Seconds before a pull that failed is tried again."""

_DEFAULT = re.compile(r"^(?P<name>\S+)\s+(?P<address>\S.*?)\s+\(default\)$", re.MULTILINE)
"""The line of ``dvc remote list`` about the remote that is used."""
_UNSAVED = "unsaved files"
"""What DVC calls files it has no copy of; it does not remove them unless told to."""


def pull(root: Path, target: str, tell: Tell) -> bool:
    """Pull one target; returns whether there is a remote to pull from.

    Raises:
        StageError: it failed three times, or DVC would have to remove files it has no copy of.
    """
    remote = default_remote(root)
    if remote is None:
        tell(f"no DVC remote is set up, so {target} is not pulled")
        return False
    for pause in (*PAUSES, None):
        try:
            run_command(["dvc", "--wait-for-lock", "pull", target], root, LIMIT, _without_advice(tell))
            break
        except StageError as error:
            if STOP.is_set():
                raise StageError(STOPPED) from None
            reason = _first_error(str(error))
            if pause is None or _UNSAVED in reason:
                raise StageError(f"{target} could not be pulled: {reason}; {_cure(reason, remote)}") from None
            tell(f"warning: {target} could not be pulled and is tried again in {pause:g} s: {reason}")
            STOP.wait(pause)
    return True


def _cure(reason: str, remote: str) -> str:
    if _UNSAVED in reason:
        return "move them away, or keep them as this project's data with `dvc commit`"
    return (
        f"see that the remote {remote} can be reached and that whoever changed the data has run `dvc push`, "
        "then start again"
    )


def default_remote(root: Path) -> str | None:
    """Return name and address of DVC's default remote, without credentials; None if there is none."""
    command = ["dvc", "remote", "list"]
    answer = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    remote = _DEFAULT.search(answer.stdout)
    if remote is None:
        return None
    parts = urlsplit(remote["address"])
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path
    return f"'{remote['name']}' ({place})"


def _first_error(text: str) -> str:
    """DVC's own error with the line after it, which may name the files."""
    lines = [line.strip() for line in text.splitlines()]
    start = next((number for number, line in enumerate(lines) if line.startswith("ERROR: ")), len(lines) - 1)
    return " ".join(lines[start : start + 2]).removeprefix("ERROR: ")


def _without_advice(tell: Tell) -> Tell:
    return lambda line: None if is_advice(line) else tell(line)
