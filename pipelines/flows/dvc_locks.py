"""DVC's note of who reads and writes what, which a killed command leaves as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from filelock import FileLock


def forget_locks(root: Path) -> None:
    """Let DVC forget what processes were reading and writing that are no longer commands of DVC.

    DVC sees by itself that a process is gone, but not that another one has its number, as after a restart of
    the machine; then it would refuse to run the stage for as long as that one lives.

    Args:
        root: the project's folder.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return
    with FileLock(path.with_name("rwlock.lock")):
        try:
            locks = json.loads(path.read_text("utf-8"))
            reads = {
                key: [one for one in infos if _is_dvc(one["pid"])] for key, infos in locks["read"].items()
            }
            kept = {
                "write": {key: one for key, one in locks["write"].items() if _is_dvc(one["pid"])},
                "read": {key: infos for key, infos in reads.items() if infos},
            }
        except (ValueError, KeyError, TypeError):
            # DVC tells what to do about a damaged file.
            return
        if kept != locks:
            path.write_text(json.dumps(kept), "utf-8")


def _is_dvc(process: int) -> bool:
    """Whether a process runs and its command names DVC."""
    command = Path(f"/proc/{process}/cmdline")
    if Path("/proc/self").exists():
        try:
            return b"dvc" in command.read_bytes()
        except OSError:
            return False
    answer = subprocess.run(["ps", "-o", "args=", "-p", str(process)], capture_output=True, check=False)
    return b"dvc" in answer.stdout
