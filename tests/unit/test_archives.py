"""Archives are unpacked as a whole or not at all, once, and found again."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from cadnet.fetching.unpacking import extract, extract_into, extracted, find_root, is_archive
from tests.archiving import TAR_MODES, TREE, add_member, refused, tree, write_tar, write_zip


class TestExtract:
    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    def test_every_kind_gives_the_same_files(self, tmp_path: Path, suffix: str) -> None:
        archive = tmp_path / f"a b{suffix}"
        if suffix == ".zip":
            write_zip(archive, TREE)
        else:
            write_tar(archive, TREE, TAR_MODES[suffix])
        seen: list[int] = []
        extract(archive, tmp_path / "out", progress=seen.append)
        assert tree(tmp_path / "out") == TREE
        assert seen == sorted(seen) and seen[-1] == archive.stat().st_size
        assert is_archive(archive)

    def test_the_kind_is_told_by_the_content(self, tmp_path: Path) -> None:
        archive = write_tar(tmp_path / "really-a-tar.zip", TREE, "w:gz")
        extract(archive, tmp_path / "out")
        assert tree(tmp_path / "out") == TREE

    def test_folders_may_be_named_before_after_and_twice(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for name in (".", "./x", "./x"):
                add_member(archive, name, type=tarfile.DIRTYPE)
            add_member(archive, "./y/1", b"1")
            add_member(archive, "./y", type=tarfile.DIRTYPE)
        extract(tmp_path / "a.tar", tmp_path / "out")
        assert tree(tmp_path / "out") == {"y/1": b"1"} and (tmp_path / "out" / "x").is_dir()

    def test_folders_of_a_zip(self, tmp_path: Path) -> None:
        extract(write_zip(tmp_path / "a.zip", {"x/": b"", "y/1": b"1", "y/": b""}), tmp_path / "out")
        assert tree(tmp_path / "out") == {"y/1": b"1"} and (tmp_path / "out" / "x").is_dir()

    def test_rights_of_the_archive_are_not_taken_over(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            add_member(archive, "run", b"1", mode=0o6777)
            add_member(archive, "secret", b"1", mode=0)
        extract(tmp_path / "a.tar", tmp_path / "out")
        plain = tmp_path / "plain"
        plain.touch()
        for name in ("run", "secret"):
            assert (tmp_path / "out" / name).stat().st_mode == plain.stat().st_mode

    def test_an_existing_folder_is_replaced_only_by_success(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_text("old")
        refused(write_zip(tmp_path / "bad.zip", {"good": b"1", "../bad": b"2"}))
        assert tree(tmp_path / "out") == {"old": b"old"}
        extract(write_zip(tmp_path / "good.zip", {"new": b"1"}), tmp_path / "out")
        assert tree(tmp_path / "out") == {"new": b"1"}

    def test_no_archive(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"none\.zip does not exist"):
            extract(tmp_path / "none.zip", tmp_path / "out")
        page = tmp_path / "page.zip"
        page.write_text("<!DOCTYPE html><html>Please log in")
        refused(page, "is no zip or tar archive", "<!DOCTYPE")

    def test_a_full_disk_is_foreseen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = write_zip(tmp_path / "a.zip", TREE)
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 9, 9))
        with pytest.raises(OSError, match=r"GiB more in .* make room") as error:
            extract(archive, tmp_path / "out")
        assert error.value.errno == errno.ENOSPC and not (tmp_path / "out").exists()


class TestDamage:
    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    def test_cut_short(self, tmp_path: Path, suffix: str, share: float) -> None:
        members = {str(index): os.urandom(3000) for index in range(10)}
        archive = tmp_path / f"a{suffix}"
        if suffix == ".zip":
            write_zip(archive, members)
        else:
            write_tar(archive, members, TAR_MODES[suffix])
            if suffix == ".tar":
                # A header of 512 bytes, then 3000 filled up to 3072: only the end mark is lost.
                archive.write_bytes(archive.read_bytes()[: 10 * 3584])
                refused(archive, "damaged or cut short")
        data = archive.read_bytes()
        archive.write_bytes(data[: int(len(data) * share)])
        refused(archive, "damaged or cut short")

    @pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
    def test_a_flipped_bit(self, tmp_path: Path, suffix: str) -> None:
        members = {"x": os.urandom(30_000)}
        archive = tmp_path / f"a{suffix}"
        if suffix == ".zip":
            write_zip(archive, members)
        else:
            write_tar(archive, members, TAR_MODES[suffix])
        data = bytearray(archive.read_bytes())
        data[len(data) // 2] ^= 1
        archive.write_bytes(data)
        refused(archive, "damaged")

    def test_a_damaged_header_in_the_middle_of_a_tar(self, tmp_path: Path) -> None:
        """The reader alone takes it for the end."""
        archive = write_tar(tmp_path / "a.tar", {"1": b"1", "2": b"2", "3": b"3"})
        data = bytearray(archive.read_bytes())
        data[2048] ^= 1
        archive.write_bytes(data)
        refused(archive, "its end is missing")


class TestExtracted:
    def test_a_folder_comes_back(self, tmp_path: Path) -> None:
        assert extracted(tmp_path, tmp_path / "cache") == tmp_path
        assert not (tmp_path / "cache").exists()

    def test_an_archive_is_unpacked_once_and_again_when_it_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = write_zip(tmp_path / "pku pcb.v2.zip", TREE)
        folder = extracted(archive, tmp_path / "cache")
        assert tree(folder) == TREE
        assert folder.parent == tmp_path / "cache" and folder.name.startswith("pku pcb.v2-")
        (folder / "mark").touch()
        assert extracted(archive, tmp_path / "cache") == folder and (folder / "mark").exists()
        write_zip(archive, {**TREE, "more": b"1"})
        other = extracted(archive, tmp_path / "cache")
        assert other != folder and (other / "more").exists()

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no\.zip does not exist; put"):
            extracted(tmp_path / "no.zip", tmp_path / "cache")

    def test_killed_while_unpacking(self, tmp_path: Path) -> None:
        archive = write_tar(tmp_path / "a.tar", {"1": bytes(2**22), "2": bytes(2**22)})
        code = (
            "import os, signal, sys\nfrom cadnet.fetching import unpacking\n"
            "write = unpacking._write\n"
            "def killed(member, *rest):\n"
            "    write(member, *rest)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
            "unpacking._write = killed\nunpacking.extracted(sys.argv[1], sys.argv[2])\n"
        )
        command = [sys.executable, "-c", code, str(archive), str(tmp_path / "cache")]
        root = Path(__file__).parents[2]
        assert subprocess.run(command, cwd=root, check=False).returncode == -signal.SIGKILL
        left = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
        assert len(left) == 1 and left[0].suffix == ".tmp"
        folder = extracted(archive, tmp_path / "cache")
        assert sorted(tree(folder)) == ["1", "2"]
        assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [folder]

    def test_two_processes_unpack_it_once(self, tmp_path: Path) -> None:
        archive = write_tar(tmp_path / "a.tar", {str(index): bytes(2**16) for index in range(50)})
        code = (
            "import sys\nfrom cadnet.fetching.unpacking import extracted\nprint(extracted(*sys.argv[1:]))\n"
        )
        command = [sys.executable, "-c", code, str(archive), str(tmp_path / "cache")]
        root = Path(__file__).parents[2]
        started = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        folders = {process.communicate(timeout=60)[0].strip() for process in started}
        assert len(folders) == 1 and len(tree(Path(folders.pop()))) == 50


class TestFindRoot:
    REQUIRED = ("PCB_USED", "images")

    @pytest.mark.parametrize("place", ["", "PCB_DATASET", "a/b/c"])
    def test_here_or_below(self, tmp_path: Path, place: str) -> None:
        for name in self.REQUIRED:
            (tmp_path / place / name).mkdir(parents=True)
            (tmp_path / "__MACOSX" / place / name).mkdir(parents=True)
        assert find_root(tmp_path, self.REQUIRED) == tmp_path / place

    def test_too_deep_or_apart(self, tmp_path: Path) -> None:
        (tmp_path / "a/b/c/d" / "PCB_USED").mkdir(parents=True)
        (tmp_path / "a/b/c/d" / "images").mkdir()
        (tmp_path / "images").mkdir()
        with pytest.raises(FileNotFoundError) as error:
            find_root(tmp_path, self.REQUIRED)
        for words in (str(tmp_path), "PCB_USED, images", "it holds a, images"):
            assert words in str(error.value)

    def test_twice(self, tmp_path: Path) -> None:
        for place in ("one", "two"):
            for name in self.REQUIRED:
                (tmp_path / place / name).mkdir(parents=True)
        with pytest.raises(ValueError, match=r"more than once: .*one, .*two"):
            find_root(tmp_path, self.REQUIRED)

    def test_the_nearest_counts(self, tmp_path: Path) -> None:
        for place in ("", "copy"):
            for name in self.REQUIRED:
                (tmp_path / place / name).mkdir(parents=True)
        assert find_root(tmp_path, self.REQUIRED) == tmp_path


def test_a_caller_may_fill_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    extract_into(write_zip(tmp_path / "a.zip", TREE), tmp_path / "out")
    assert tree(tmp_path / "out") == TREE
    # Never over what is there.
    with pytest.raises(FileExistsError):
        extract_into(tmp_path / "a.zip", tmp_path / "out")
