"""The folder a dataset grows in: which samples are finished, proven by digests, across kills and restarts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

JOURNAL = "journal.jsonl"
LOCK = "lock"


class SynthesisError(RuntimeError):
    """A dataset cannot be written; the message names the cause and the cure."""


class Written(NamedTuple):
    """One finished sample: its id, pixels per class and the SHA-256 of its two files."""

    sample_id: str
    pixels: tuple[int, ...]
    image: str
    mask: str


def image_path(sample_id: str) -> str:
    """Path of a sample's image in its dataset."""
    return f"images/{sample_id}.png"


def mask_path(sample_id: str) -> str:
    """Path of a sample's mask in its dataset."""
    return f"masks/{sample_id}.png"


def write_file(path: Path, data: bytes) -> str:
    """Write ``data`` so that ``path`` is complete or absent, and return its SHA-256.

    Not synced to the disk one by one, which would cost more than the drawing: the whole folder is synced before it gets
    its final name, and a rerun checks every digest.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return hashlib.sha256(data).hexdigest()


def intact(root: Path, written: Written) -> bool:
    """Whether both files of a sample are there with the bytes that were written."""
    for name, digest in (
        (image_path(written.sample_id), written.image),
        (mask_path(written.sample_id), written.mask),
    ):
        try:
            if hashlib.sha256((root / name).read_bytes()).hexdigest() != digest:
                return False
        except OSError:
            return False
    return True


class Staging:
    """A locked staging folder beside ``out``; samples finished by an earlier run are found again.

    ``digest`` names what is being written: a run with other parameters gets another folder. Use as a context manager.

    Raises:
        SynthesisError: another process is writing the same dataset.
    """

    def __init__(self, out: Path, digest: str) -> None:
        self._out = out
        self.root = out.with_name(f".{out.name}.partial-{digest[:16]}")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.root / LOCK)

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SynthesisError(
                f"another process is writing {self._out} with the same parameters (in {self.root}); wait for it or end it"
            ) from None
        for folder in ("images", "masks", "references"):
            (self.root / folder).mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def finished(self) -> dict[str, Written]:
        """Return the samples of earlier runs whose files are intact, by id."""
        journal = self.root / JOURNAL
        done: dict[str, Written] = {}
        if not journal.is_file():
            return done
        for line in journal.read_text("utf-8", errors="replace").splitlines():
            written = _parse(line)
            if written is not None and intact(self.root, written):
                done[written.sample_id] = written
        # Written anew, because the last line may lack its end and the next one would be glued to it.
        lines = "".join(_line(written) for written in done.values())
        write_file(journal, lines.encode())
        return done

    def record(self, samples: list[Written]) -> None:
        """Note finished samples."""
        with (self.root / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write("".join(_line(written) for written in samples))

    def strip(self) -> None:
        """Remove what only the writing needed: the journal, and temporary files of killed processes."""
        (self.root / JOURNAL).unlink(missing_ok=True)
        for file in self.root.glob("*/.*"):
            file.unlink()
        # Released first: a lock file that is removed while held would still stop nobody.
        self._lock.release()
        (self.root / LOCK).unlink(missing_ok=True)

    def remove_others(self) -> None:
        """Remove staging folders of the same dataset with other parameters that nobody is writing."""
        for folder in self._out.parent.glob(f".{self._out.name}.partial-*"):
            if folder == self.root:
                continue
            lock = FileLock(folder / LOCK)
            try:
                with lock.acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
            except (Timeout, OSError):
                continue


def _line(written: Written) -> str:
    return json.dumps(written) + "\n"


def _parse(line: str) -> Written | None:
    """One journal line, or None when a kill cut it short."""
    try:
        value: Any = json.loads(line)
        sample_id, pixels, image, mask = value
        return Written(str(sample_id), tuple(int(p) for p in pixels), str(image), str(mask))
    except (ValueError, TypeError):
        return None
