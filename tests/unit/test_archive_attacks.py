"""Archives made to harm are refused before they do."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from cadnet.fetching.archives import ArchiveError, Limits
from cadnet.fetching.unpacking import extract
from tests.archiving import TAR_MODES, TREE, add_member, refused, tree, write_tar, write_zip

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
        write = write_zip if suffix == ".zip" else write_tar
        archive = write(tmp_path / f"a{suffix}", {str(index): os.urandom(1000) for index in range(5)})
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
        write = write_zip if suffix == ".zip" else write_tar
        archive = write(tmp_path / f"a{suffix}", {str(index): b"" for index in range(11)})
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
    archive = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        write_zip(archive, TREE)
    else:
        write_tar(archive, TREE, TAR_MODES[suffix])
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
