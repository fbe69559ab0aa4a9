"""Archives are unpacked completely or not at all, and hostile ones are refused without a trace."""

from __future__ import annotations

import errno
import gzip
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from cadnet.fetching.archives import ArchiveError, Limits
from cadnet.fetching.unpacking import extract, extract_into, extracted, find_root, is_archive
from tests.archiving import TAR_MODES, TREE, add_member, refused, tree, write_archive, write_tar, write_zip


class TestExtract:
    @pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
    def test_every_kind_gives_the_same_files(self, tmp_path: Path, suffix: str) -> None:
        archive = write_archive(tmp_path / f"a b{suffix}", TREE)
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
        archive = write_archive(tmp_path / f"a{suffix}", members)
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
        archive = write_archive(tmp_path / f"a{suffix}", members)
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
        root = Path(__file__).parents[3]
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
        root = Path(__file__).parents[3]
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


OUTSIDE = [
    "../evil",
    "a/../../evil",
    "/evil",
    "//evil",
    "C:/evil",
    "c:evil",
    "..\\evil",
    "a\\..\\..\\evil",
]


class TestNames:
    @pytest.mark.parametrize("name", OUTSIDE)
    def test_zip_slip(self, tmp_path: Path, name: str) -> None:
        refused(
            write_zip(tmp_path / "a.zip", {"fine.txt": b"1", name: b"2"}), "not safe to unpack", repr(name)
        )

    @pytest.mark.parametrize("name", OUTSIDE)
    def test_tar_slip(self, tmp_path: Path, name: str) -> None:
        refused(
            write_tar(tmp_path / "a.tar.gz", {"fine.txt": b"1", name: b"2"}, "w:gz"), "not safe", repr(name)
        )

    @pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "/".join("a" * 33)])
    def test_names_that_deceive_or_are_too_deep(self, tmp_path: Path, name: str) -> None:
        refused(write_zip(tmp_path / "a.zip", {name: b"1"}), "not safe")
        refused(write_tar(tmp_path / "a.tar", {name: b"1"}), "not safe")

    def test_a_name_hidden_behind_a_null_byte(self, tmp_path: Path) -> None:
        archive = write_zip(tmp_path / "a.zip", {"a.jpgX/../../evil": b"1"})
        archive.write_bytes(archive.read_bytes().replace(b"jpgX", b"jpg\0"))
        refused(archive, "not safe")

    def test_all_bad_names_of_a_zip_are_told_at_once(self, tmp_path: Path) -> None:
        members = {f"../evil-{index}": b"" for index in range(7)}
        message = refused(write_zip(tmp_path / "a.zip", members), "'../evil-0' leads out", "and 2 more")
        assert "'../evil-4'" in message and "'../evil-5'" not in message

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("a/x.png", "a/x.png"),
            ("a/X.png", "a/x.PNG"),
            ("\u00e9.png", "e\u0301.png"),
            ("stra\u00dfe", "STRASSE"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_the_same_name_twice(self, tmp_path: Path, first: str, second: str) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(first, b"1")
            archive.writestr(second, b"2")
        with tarfile.open(tmp_path / "a.tar", "w") as tape:
            add_member(tape, first, b"1")
            add_member(tape, second, b"2")
        for name in ("a.zip", "a.tar"):
            refused(tmp_path / name, "has the same name as")

    @pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("A", "a/b/c")])
    def test_a_file_that_is_a_folder_too(self, tmp_path: Path, names: tuple[str, str]) -> None:
        refused(write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"1")), "not safe")
        refused(write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"1")), "not safe")


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "target"),
        [
            (tarfile.SYMTYPE, "/etc"),
            (tarfile.SYMTYPE, "fine.txt"),
            (tarfile.LNKTYPE, "fine.txt"),
            (tarfile.LNKTYPE, "../../secret"),
            (tarfile.FIFOTYPE, ""),
            (tarfile.CHRTYPE, ""),
            (tarfile.BLKTYPE, ""),
            (b"Z", ""),
        ],
    )
    def test_links_and_devices_in_a_tar(self, tmp_path: Path, kind: bytes, target: str) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            add_member(archive, "fine.txt", b"1")
            add_member(archive, "x", type=kind, linkname=target)
        refused(tmp_path / "a.tar", "'x' is")

    def test_a_file_written_through_a_link(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            add_member(archive, "x", type=tarfile.SYMTYPE, linkname=str(outside))
            add_member(archive, "x/evil", b"1")
        refused(tmp_path / "a.tar", "is a link")
        assert tree(outside) == {}

    @pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644])
    def test_links_and_devices_in_a_zip(self, tmp_path: Path, mode: int) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            info = zipfile.ZipInfo("x")
            info.external_attr = mode << 16
            archive.writestr(info, "/etc/passwd")
        refused(tmp_path / "a.zip", "'x' is")

    def test_a_sparse_file(self, tmp_path: Path) -> None:
        """Holes are stored as two numbers, so a few bytes could ask for a full disk."""
        with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            add_member(archive, "x", b"1" * 512, type=tarfile.GNUTYPE_SPARSE)
        refused(tmp_path / "a.tar", "'x' is neither")

    def test_an_encrypted_zip(self, tmp_path: Path) -> None:
        archive = write_zip(tmp_path / "a.zip", {"x": b"1" * 100})
        data = bytearray(archive.read_bytes())
        data[6] |= 1  # flag bits of the local header
        data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the table of contents
        archive.write_bytes(data)
        refused(archive, "is encrypted", "unpack it yourself")


class TestLimits:
    SMALL = Limits(ratio_from=2**20)

    def test_a_zip_bomb(self, tmp_path: Path) -> None:
        archive = write_zip(tmp_path / "a.zip", {"x": bytes(20 * 2**20)})
        assert archive.stat().st_size < 32 * 2**10
        refused(archive, "more than 100 times its size", limits=self.SMALL)

    @pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
    def test_a_tar_bomb(self, tmp_path: Path, suffix: str) -> None:
        archive = write_tar(tmp_path / f"a{suffix}", {"x": bytes(20 * 2**20)}, TAR_MODES[suffix])
        refused(archive, "more than 100 times its size", limits=self.SMALL)

    def test_a_bomb_of_many_small_files(self, tmp_path: Path) -> None:
        members = {str(index): bytes(64 * 2**10) for index in range(200)}
        refused(write_tar(tmp_path / "a.tar.xz", members, "w:xz"), "times its size", limits=self.SMALL)

    def test_flat_masks_may_pack_well(self, tmp_path: Path) -> None:
        extract(write_zip(tmp_path / "a.zip", {"mask.bmp": bytes(2**20)}), tmp_path / "out")

    @pytest.mark.parametrize("suffix", [".zip", ".tar"])
    def test_too_many_bytes(self, tmp_path: Path, suffix: str) -> None:
        archive = write_archive(tmp_path / f"a{suffix}", {str(index): os.urandom(1000) for index in range(5)})
        refused(archive, "GiB", limits=Limits(total_bytes=4999))
        if suffix == ".zip":
            extract(archive, tmp_path / "out", Limits(total_bytes=5000))
            assert len(tree(tmp_path / "out")) == 5

    def test_a_header_that_lies_about_the_size(self, tmp_path: Path) -> None:
        archive = write_zip(tmp_path / "a.zip", {"x": bytes(10**6)})
        data = archive.read_bytes().replace(struct.pack("<L", 10**6), struct.pack("<L", 10))
        archive.write_bytes(data)
        refused(archive, "damaged")

    @pytest.mark.parametrize("suffix", [".zip", ".tar"])
    def test_too_many_members(self, tmp_path: Path, suffix: str) -> None:
        archive = write_archive(tmp_path / f"a{suffix}", {str(index): b"" for index in range(11)})
        refused(archive, "more than 10 members", limits=Limits(members=10))
        extract(archive, tmp_path / "out", Limits(members=11))

    def test_a_header_too_long_for_the_memory(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("././@PaxHeader")
        info.type, info.size = tarfile.XHDTYPE, 2**32
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)))
        refused(tmp_path / "a.tar.gz", "unreasonable length")

    def test_headers_without_end(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
        one = info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
        (tmp_path / "a.tar.gz").write_bytes(gzip.compress(one * 5000))
        refused(tmp_path / "a.tar.gz", "damaged")


@pytest.mark.parametrize("suffix", [".zip", *TAR_MODES])
def test_any_damage_is_refused_or_harmless(tmp_path: Path, suffix: str) -> None:
    """Bytes changed at random: either all is unpacked into the folder or one kind of error comes."""
    archive = write_archive(tmp_path / f"a{suffix}", TREE)
    whole, generator = archive.read_bytes(), random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 2, 8])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        archive.write_bytes(data)
        try:
            extract(archive, tmp_path / "out" / "in")
        except ArchiveError as error:
            assert str(archive) in str(error)
        else:
            shutil.rmtree(tmp_path / "out" / "in")
        left = [path for path in tmp_path.rglob("*") if path.name != "out"]
        assert left == [archive]
