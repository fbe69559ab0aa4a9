"""Archives for tests: honest ones, and the check that a bad one is refused without a trace."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from cadnet.fetching.archives import ArchiveError, Limits
from cadnet.fetching.unpacking import extract

TREE = {
    "PCB/images/01_short_01.jpg": b"\xff\xd8" * 700,
    "PCB/Tür und Tor/é 1.xml": b"<a/>",
    "PCB/leer.txt": b"",
}
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            add_member(archive, name, data)
    return path


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    """Write an archive of the kind that the suffix names."""
    if path.suffix == ".zip":
        return write_zip(path, members)
    return write_tar(path, members, next(mode for end, mode in TAR_MODES.items() if path.name.endswith(end)))


def add_member(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(archive: Path, *words: str, limits: Limits | None = None) -> str:
    """Unpacking fails with one line that names the archive, and leaves nothing behind, here or elsewhere."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(ArchiveError) as error:
        extract(archive, archive.parent / "out", limits)
    assert sorted(archive.parent.rglob("*")) == before
    message = str(error.value)
    assert str(archive) in message and "\n" not in message
    for word in words:
        assert word in message
    return message
