"""The folder a dataset grows in: which units are finished, proven by digests, across kills and restarts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from cadnet.files import below, file_digest, refuse_links
from cadnet.writing.units import Finished, PreparationError, write_file

JOURNAL = "journal.jsonl"


def intact(root: Path, files: Mapping[str, str]) -> bool:
    """Whether all ``files`` (path below ``root`` -> SHA-256) exist with the bytes that were written."""
    try:
        return all(file_digest(below(root, name)) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False


class Staging:
    """A locked staging folder beside ``out``; units finished by an earlier run are found again.

    ``digest`` names what is being written: a run with other parameters gets another folder. A context
    manager.

    Raises (on entering):
        PreparationError: another process is writing the same dataset.
    """

    def __init__(self, out: Path, digest: str) -> None:
        self._out = out
        self.root = out.with_name(f".{out.name}.partial-{digest[:16]}")
        self._lock = _lock_of(self.root)

    def __enter__(self) -> Self:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise PreparationError(
                f"another process is writing {self._out} with the same parameters (in {self.root}); "
                "wait for it or end it"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.root.exists():
            # Whoever waits for this very file finds the finished dataset instead.
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def open(self, folders: Sequence[str]) -> dict[str, Finished]:
        """Make the folder and return the units of earlier runs whose files are intact, by id."""
        for folder in ("", *folders):
            refuse_links(self.root / folder, self._out.parent)
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        journal = self.root / JOURNAL
        done: dict[str, Finished] = {}
        if journal.is_file():
            for line in journal.read_text("utf-8", errors="replace").splitlines():
                finished = _parse(line)
                if finished is not None and intact(self.root, finished.files):
                    done[finished.unit_id] = finished
        # Written anew, because the last line may lack its end and the next one would be glued to it.
        write_file(journal, "".join(_line(finished) for finished in done.values()).encode())
        return done

    def record(self, finished: Sequence[Finished]) -> None:
        """Note finished units."""
        with (self.root / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write("".join(_line(item) for item in finished))

    def strip(self) -> None:
        """Remove what only the writing needed: the journal, and temporary files of killed processes."""
        (self.root / JOURNAL).unlink(missing_ok=True)
        for file in self.root.rglob(".*"):
            file.unlink()

    def remove_others(self) -> None:
        """Remove staging folders of the same dataset with other parameters that nobody is writing."""
        for folder in self._out.parent.glob(f".{self._out.name}.partial-*"):
            if folder == self.root or not folder.is_dir():
                continue
            lock = _lock_of(folder)
            try:
                with lock.acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
                    Path(lock.lock_file).unlink(missing_ok=True)
            except (Timeout, OSError):
                continue


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _line(finished: Finished) -> str:
    return json.dumps(finished, ensure_ascii=False) + "\n"


def _parse(line: str) -> Finished | None:
    """One journal line, or None when a kill cut it short."""
    try:
        unit_id, rows, records, files = json.loads(line)
        return Finished(str(unit_id), list(rows), dict(records), {str(k): str(v) for k, v in files.items()})
    except (ValueError, TypeError, AttributeError):
        return None
