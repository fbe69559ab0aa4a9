"""Files and folders are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadnet.files import (
    atomic_directory,
    atomic_path,
    file_digest,
    read_json,
    replace_directory,
    tree_digest,
    value_digest,
    write_bytes,
    write_json,
    write_text,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of b"abc" (FIPS 180-2, appendix B.1)."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full_disk(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class TestAtomicPath:
    def test_appears_only_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "er" / "a.json"
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            assert not path.exists()
            assert temporary.parent == path.parent  # else the rename would not be atomic
            assert temporary.suffix == ".json"  # writers choose the format by it
        assert path.read_text() == "new"
        assert names(path.parent) == ["a.json"]

    def test_exception_keeps_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(RuntimeError, match="half-way"), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half-way")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]

    def test_full_disk_while_syncing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "new")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]

    def test_full_disk_while_writing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def half(path: Path, data: bytes) -> None:
            with path.open("wb") as file:
                file.write(data[: len(data) // 2])
            full_disk()

        monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="No space left"):
            write_bytes(tmp_path / "a.bin", b"12345678")
        assert names(tmp_path) == []

    def test_killed_while_writing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        _kill_inside("atomic_path", path, "temporary.write_text('half')")
        assert path.read_text() == "old"

    def test_two_writers_do_not_share_a_temporary_file(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "a.txt") as one, atomic_path(tmp_path / "a.txt") as other:
            assert one != other
            one.write_text("x")
            other.write_text("y")


class TestAtomicDirectory:
    def test_replaces_as_a_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "stale.txt").write_text("old")
        with atomic_directory(target) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "new.txt").write_text("new")
            assert names(target) == ["stale.txt"]
        assert names(target) == ["sub"]
        assert (target / "sub" / "new.txt").read_text() == "new"
        assert names(tmp_path) == ["out"]
        assert target.stat().st_mode & 0o777 == 0o755

    def test_exception_keeps_the_old_folder(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "a.txt").write_text("old")
        with pytest.raises(OSError, match="No space left"), atomic_directory(target) as folder:
            (folder / "a.txt").write_text("half")
            full_disk()
        assert (target / "a.txt").read_text() == "old"
        assert names(tmp_path) == ["out"]

    def test_killed_while_filling(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "a.txt").write_text("old")
        _kill_inside("atomic_directory", target, "(temporary / 'a.txt').write_text('half')")
        assert (target / "a.txt").read_text() == "old"

    def test_failed_rename_puts_the_old_folder_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        for folder, text in ((source, "new"), (target, "old")):
            folder.mkdir()
            (folder / "a.txt").write_text(text)
        rename = Path.replace

        def refuse(path: Path, to: Path) -> Path:
            if path == source:
                raise OSError(errno.EIO, "input/output error")
            return rename(path, to)

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="input/output error"):
            replace_directory(source, target)
        assert (target / "a.txt").read_text() == "old"
        assert names(tmp_path) == ["source", "target"]

    def test_full_disk_while_syncing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        target = tmp_path / "out"
        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"), atomic_directory(target) as folder:
            (folder / "a.txt").write_text("new")
        assert names(tmp_path) == []


def _kill_inside(function: str, path: Path, action: str) -> None:
    """Start a process that enters the block, does ``action``, and is killed with SIGKILL inside it."""
    ready = path.with_name("ready")
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        f"from cadnet.files import {function}\n"
        f"with {function}(Path({str(path)!r})) as temporary:\n"
        f"    {action}\n    Path({str(ready)!r}).touch()\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 30
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ready.exists()
        process.kill()
        assert process.wait() == -signal.SIGKILL


class TestJson:
    def test_round_trip(self, tmp_path: Path) -> None:
        value = {"name": "Büro", "numbers": [1, 2.5, None], "nested": {"yes": True}}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value
        text = (tmp_path / "a.json").read_text("utf-8")
        assert "Büro" in text
        assert text.endswith("}\n")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_json_cannot_hold_is_refused(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"iou": value})
        assert names(tmp_path) == []

    @pytest.mark.parametrize("data", [b"", b'{"a": 1', b"\xff\xfe", b"nonsense"])
    def test_damaged_file_is_named(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.json is not readable JSON .*delete it and make it again"):
            read_json(tmp_path / "a.json")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"a\.json"):
            read_json(tmp_path / "a.json")


class TestDigests:
    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        assert file_digest(tmp_path / "a") == ABC

    def test_value_is_that_of_its_sorted_json(self) -> None:
        assert value_digest({"b": 1, "a": 2}) == value_digest(json.loads('{"a": 2, "b": 1}'))
        assert value_digest(1, 2) != value_digest([1, 2]) != value_digest(12)
        assert value_digest("1") != value_digest(1)

    def test_tree_sees_names_and_bytes_but_not_place_or_order(self, tmp_path: Path) -> None:
        def tree(root: str, files: dict[str, str], reverse: bool = False) -> str:
            paths = []
            for name, text in files.items():
                write_text(tmp_path / root / name, text)
                paths.append(tmp_path / root / name)
            return tree_digest(paths[::-1] if reverse else paths, tmp_path / root)

        first = tree("one", {"a.py": "x", "sub/b.py": "y"})
        assert tree("two", {"a.py": "x", "sub/b.py": "y"}, reverse=True) == first
        assert tree("three", {"a.py": "x", "sub/b.py": "z"}) != first
        assert tree("four", {"a.py": "x", "sub/c.py": "y"}) != first
        assert tree("five", {"a.py": "y", "sub/b.py": "x"}) != first
