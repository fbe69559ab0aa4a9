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

    Not synced to the disk one by one, which would cost more than the drawing: the whole folder is synced
    before it gets its final name, and a rerun checks every digest.
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
    files = ((image_path(written.sample_id), written.image), (mask_path(written.sample_id), written.mask))
    try:
        return all(hashlib.sha256((root / name).read_bytes()).hexdigest() == digest for name, digest in files)
    except OSError:
        return False


class Staging:
    """A locked staging folder beside ``out``; samples finished by an earlier run are found again.

    ``digest`` names what is being written: a run with other parameters gets another folder. A context
    manager.

    Raises (on entering):
        SynthesisError: another process is writing the same dataset.
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
            raise SynthesisError(
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

    def open(self) -> dict[str, Written]:
        """Make the folder and return the samples of earlier runs whose files are intact, by id."""
        for folder in ("images", "masks", "references"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        journal = self.root / JOURNAL
        done: dict[str, Written] = {}
        if journal.is_file():
            for line in journal.read_text("utf-8", errors="replace").splitlines():
                written = _parse(line)
                if written is not None and intact(self.root, written):
                    done[written.sample_id] = written
        # Written anew, because the last line may lack its end and the next one would be glued to it.
        write_file(journal, "".join(_line(written) for written in done.values()).encode())
        return done

    def record(self, samples: list[Written]) -> None:
        """Note finished samples."""
        with (self.root / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write("".join(_line(written) for written in samples))

    def strip(self) -> None:
        """Remove what only the writing needed: the journal, and temporary files of killed processes."""
        (self.root / JOURNAL).unlink(missing_ok=True)
        for file in (*self.root.glob(".*"), *self.root.glob("*/.*")):
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
