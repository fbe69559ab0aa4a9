"""From an address or a file to a folder with a note, or one message that says what to do by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from typer.testing import CliRunner, Result

from cadnet.cli import app
from cadnet.fetching import command
from cadnet.fetching.download import Transfer
from cadnet.fetching.fetch import Folders
from cadnet.fetching.sources import FetchError, Source, load_sources
from tests.archiving import tree, write_zip

if TYPE_CHECKING:
    from .conftest import Server

FILES = {f"PCB_DATASET/{name}/1.txt": name.encode() for name in ("PCB_USED", "images", "Annotations")}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cadnet.fetching.download.PATIENCE", Transfer(attempts=1, pause_seconds=0))


@pytest.fixture
def source(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """PKU-Market-PCB, from the local server."""
    server.content = write_zip(tmp_path / "served.zip", FILES).read_bytes()
    return offer(load_sources()["pku_pcb"].model_copy(update={"address": server.address}), monkeypatch)


def offer(source: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(command, "load_sources", lambda: {"pku_pcb": source})
    return source


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "data", tmp_path / "downloads")


def call(folders: Folders, *arguments: str) -> Result:
    folders = ["--data", str(folders.data), "--downloads", str(folders.downloads)]
    return CliRunner().invoke(app, ["fetch-data", *arguments, *folders])


def accept(folders: Folders, *arguments: str) -> Result:
    return call(folders, "pku_pcb", "--accept-licence", *arguments)


def assert_refused(result: Result, *words: str) -> None:
    """One message with the way by hand."""
    assert result.exit_code == 1 and result.stderr.count("error: ") == 1 and "Traceback" not in result.output
    for word in (*words, "open https://robotics.pkusz.edu.cn/", "--file PATH/PCB_DATASET.zip"):
        assert word in result.stderr


class TestSuccess:
    def test_a_fetched_dataset_and_its_note(self, source: Source, folders: Folders, server: Server) -> None:
        result = accept(folders)
        assert result.exit_code == 0, result.output
        found = tree(folders.data / "pku_pcb")
        note = json.loads(found.pop("SOURCE.json"))
        assert found == FILES
        sha256 = hashlib.sha256(server.content).hexdigest()
        assert note["sha256"] == sha256 and note["bytes"] == len(server.content)
        assert note["taken_from"] == source.address and note["root"] == "PCB_DATASET"
        assert note["licence_accepted"] == "by --accept-licence" and note["licence"] == source.licence
        assert note["compared_with"] == "none"
        assert (folders.downloads / "PCB_DATASET.zip.sha256").read_text() == f"{sha256}  PCB_DATASET.zip\n"
        # The terms come before anything is done.
        assert result.stdout.index(source.licence) < result.stdout.index("plan: download")
        assert [path.name for path in folders.data.iterdir()] == ["pku_pcb"]

    def test_a_second_call_does_nothing(self, source: Source, folders: Folders, server: Server) -> None:
        accept(folders)
        server.asked.clear()
        result = call(folders, "pku_pcb")
        assert result.exit_code == 0 and "exists in" in result.stdout and server.asked == []

    def test_a_download_already_there_is_not_repeated(
        self, source: Source, folders: Folders, server: Server
    ) -> None:
        folders.downloads.mkdir()
        (folders.downloads / source.archive).write_bytes(server.content)
        assert accept(folders).exit_code == 0 and server.asked == []

    @pytest.mark.usefixtures("source")
    def test_a_file_of_any_name(self, folders: Folders, server: Server, tmp_path: Path) -> None:
        file = tmp_path / "mein Download (1).zip"
        file.write_bytes(server.content)
        result = accept(folders, "--file", str(file))
        assert result.exit_code == 0 and server.asked == []
        note = json.loads((folders.data / "pku_pcb/SOURCE.json").read_text())
        assert (note["taken_from"], note["archive"]) == ("a file downloaded by hand", file.name)
        assert file.read_bytes() == server.content

    @pytest.mark.usefixtures("source")
    def test_goes_on_after_a_cut(self, folders: Folders, server: Server) -> None:
        server.cuts = [100]
        assert_refused(accept(folders), "100 bytes are kept")
        assert "resuming after" in call(folders).stdout
        assert accept(folders).exit_code == 0
        assert server.asked[-1]["Range"] == "bytes=100-"

    @pytest.mark.usefixtures("source")
    def test_what_a_killed_call_left_is_removed(self, folders: Folders) -> None:
        (folders.data / ".pku_pcb.abc.tmp" / "PCB_DATASET").mkdir(parents=True)
        (folders.data / "pku_pcb").mkdir()
        assert accept(folders).exit_code == 0
        assert [path.name for path in folders.data.iterdir()] == ["pku_pcb"]


class TestLicence:
    def test_nobody_to_ask(self, source: Source, folders: Folders, server: Server) -> None:
        result = call(folders, "pku_pcb")
        assert result.exit_code == 1 and "add --accept-licence" in result.stderr
        assert source.licence in result.stdout
        assert server.asked == [] and not folders.data.exists() and not folders.downloads.exists()

    @pytest.mark.usefixtures("source")
    @pytest.mark.parametrize("answer", [True, False])
    def test_a_person_is_asked(self, folders: Folders, server: Server, answer: bool) -> None:
        logged: list[str] = []

        def run() -> None:
            command.run(
                "pku_pcb", accept=False, file=None, folders=folders, log=logged.append, ask=lambda _: answer
            )

        if answer:
            run()
            note = json.loads((folders.data / "pku_pcb/SOURCE.json").read_text())
            assert note["licence_accepted"] == "at the terminal"
        else:
            with pytest.raises(FetchError, match="not accepted; nothing was done"):
                run()
            assert server.asked == [] and not folders.data.exists()


class TestRefusal:
    @pytest.mark.usefixtures("source")
    def test_a_dead_link(self, folders: Folders, server: Server) -> None:
        server.status = 404
        assert_refused(accept(folders), "HTTP 404")
        assert not folders.data.exists()

    def test_no_address_is_known(
        self, source: Source, folders: Folders, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offer(source.model_copy(update={"address": None}), monkeypatch)
        assert_refused(accept(folders), "no address")
        assert "plan: by hand only" in call(folders).stdout

    @pytest.mark.parametrize("kind", ["sha256", "md5"])
    @pytest.mark.parametrize("given", [False, True])
    def test_another_checksum(
        self,
        source: Source,
        folders: Folders,
        server: Server,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        given: bool,
    ) -> None:
        right = hashlib.new(kind, server.content).hexdigest()
        wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
        offer(source.model_copy(update={kind: wrong}), monkeypatch)
        file = tmp_path / "served.zip"
        result = accept(folders, *(["--file", str(file)] if given else []))
        assert_refused(result, right, wrong)
        assert not folders.data.exists() and file.exists()
        # A bad download is set aside, so that the next call does not take it again.
        names = {path.name for path in folders.downloads.iterdir() if not path.name.endswith(".lock")}
        assert names == (set() if given else {"PCB_DATASET.zip.refused"})
        offer(source.model_copy(update={kind: right}), monkeypatch)
        assert accept(folders).exit_code == 0
        note = json.loads((folders.data / "pku_pcb/SOURCE.json").read_text())
        assert note["compared_with"] == "published checksum"

    def test_another_size(self, source: Source, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        offer(source.model_copy(update={"size_bytes": 7}), monkeypatch)
        assert_refused(accept(folders), "where 7 are published")

    @pytest.mark.usefixtures("source")
    def test_another_file_than_the_first_download(self, folders: Folders, tmp_path: Path) -> None:
        assert accept(folders).exit_code == 0
        (folders.data / "pku_pcb").rename(tmp_path / "away")
        file = write_zip(tmp_path / "new.zip", {**FILES, "more": b"1"})
        assert_refused(accept(folders, "--file", str(file)), "the first download had", "delete")
        (folders.downloads / "PCB_DATASET.zip.sha256").unlink()
        assert accept(folders, "--file", str(file)).exit_code == 0

    @pytest.mark.usefixtures("source")
    def test_another_archive(self, folders: Folders, tmp_path: Path) -> None:
        file = write_zip(tmp_path / "DeepPCB.zip", {"PCBData/group00041/1.txt": b"1"})
        assert_refused(
            accept(folders, "--file", str(file)), "DeepPCB.zip", "PCB_USED, images", "another archive"
        )
        assert tree(folders.data) == {} and not (folders.downloads / "PCB_DATASET.zip.sha256").exists()

    @pytest.mark.usefixtures("source")
    def test_a_hostile_archive(self, folders: Folders, server: Server, tmp_path: Path) -> None:
        server.content = write_zip(tmp_path / "evil.zip", {**FILES, "../../evil": b"1"}).read_bytes()
        assert_refused(accept(folders), "leads out of the folder", "PCB_DATASET.zip.refused")
        assert tree(folders.data) == {} and not (tmp_path / "evil").exists()

    @pytest.mark.usefixtures("source")
    def test_a_file_that_is_not_there(self, folders: Folders) -> None:
        assert_refused(accept(folders, "--file", "nowhere.zip"), "nowhere.zip does not exist")

    @pytest.mark.usefixtures("source")
    @pytest.mark.parametrize("given", [False, True])
    def test_a_folder_that_is_taken(
        self, folders: Folders, server: Server, tmp_path: Path, given: bool
    ) -> None:
        (folders.data / "pku_pcb").mkdir(parents=True)
        (folders.data / "pku_pcb" / "mine.txt").write_text("mine")
        result = accept(folders, *(["--file", str(tmp_path / "served.zip")] if given else []))
        assert result.exit_code == 1 and "exists and is not empty" in result.stderr
        assert tree(folders.data) == {"pku_pcb/mine.txt": b"mine"} and server.asked == []
        assert "not made by this command" in call(folders).stdout

    @pytest.mark.usefixtures("source")
    def test_two_at_a_time(self, folders: Folders) -> None:
        folders.downloads.mkdir()
        with FileLock(folders.downloads / ".pku_pcb.lock"):
            result = accept(folders)
        assert result.exit_code == 1 and "by another process" in result.stderr

    def test_an_unknown_name(self, folders: Folders) -> None:
        result = call(folders, "deep_pcb", "--accept-licence")
        assert result.exit_code == 1 and "choose one of pku_pcb, mvtec_ad" in result.stderr

    def test_a_file_without_a_name(self, folders: Folders) -> None:
        result = call(folders, "--file", "x.zip")
        assert result.exit_code == 1 and "needs the dataset's name" in result.stderr
