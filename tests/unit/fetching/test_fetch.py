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
from cadnet.fetching.fetch import Places
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
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "data", tmp_path / "downloads")


def call(places: Places, *arguments: str) -> Result:
    folders = ["--data", str(places.data), "--downloads", str(places.downloads)]
    return CliRunner().invoke(app, ["fetch-data", *arguments, *folders])


def accept(places: Places, *arguments: str) -> Result:
    return call(places, "pku_pcb", "--accept-licence", *arguments)


def assert_refused(result: Result, *words: str) -> None:
    """One message with the way by hand."""
    assert result.exit_code == 1 and result.stderr.count("error: ") == 1 and "Traceback" not in result.output
    for word in (*words, "open https://robotics.pkusz.edu.cn/", "--file PATH/PCB_DATASET.zip"):
        assert word in result.stderr


class TestSuccess:
    def test_a_fetched_dataset_and_its_note(self, source: Source, places: Places, server: Server) -> None:
        result = accept(places)
        assert result.exit_code == 0, result.output
        found = tree(places.data / "pku_pcb")
        note = json.loads(found.pop("SOURCE.json"))
        assert found == FILES
        sha256 = hashlib.sha256(server.content).hexdigest()
        assert note["sha256"] == sha256 and note["bytes"] == len(server.content)
        assert note["taken_from"] == source.address and note["root"] == "PCB_DATASET"
        assert note["licence_accepted"] == "by --accept-licence" and note["licence"] == source.licence
        assert note["compared_with"] == "none"
        assert (places.downloads / "PCB_DATASET.zip.sha256").read_text() == f"{sha256}  PCB_DATASET.zip\n"
        # The terms come before anything is done.
        assert result.stdout.index(source.licence) < result.stdout.index("plan: download")
        assert [path.name for path in places.data.iterdir()] == ["pku_pcb"]

    def test_a_second_call_does_nothing(self, source: Source, places: Places, server: Server) -> None:
        accept(places)
        server.asked.clear()
        result = call(places, "pku_pcb")
        assert result.exit_code == 0 and "is there" in result.stdout and server.asked == []

    def test_a_download_already_there_is_not_repeated(
        self, source: Source, places: Places, server: Server
    ) -> None:
        places.downloads.mkdir()
        (places.downloads / source.archive).write_bytes(server.content)
        assert accept(places).exit_code == 0 and server.asked == []

    @pytest.mark.usefixtures("source")
    def test_a_file_of_any_name(self, places: Places, server: Server, tmp_path: Path) -> None:
        file = tmp_path / "mein Download (1).zip"
        file.write_bytes(server.content)
        result = accept(places, "--file", str(file))
        assert result.exit_code == 0 and server.asked == []
        note = json.loads((places.data / "pku_pcb/SOURCE.json").read_text())
        assert (note["taken_from"], note["archive"]) == ("a file downloaded by hand", file.name)
        assert file.read_bytes() == server.content

    @pytest.mark.usefixtures("source")
    def test_goes_on_after_a_cut(self, places: Places, server: Server) -> None:
        server.cuts = [100]
        assert_refused(accept(places), "100 bytes are kept")
        assert "going on after" in call(places).stdout
        assert accept(places).exit_code == 0
        assert server.asked[-1]["Range"] == "bytes=100-"

    @pytest.mark.usefixtures("source")
    def test_what_a_killed_call_left_is_removed(self, places: Places) -> None:
        (places.data / ".pku_pcb.abc.tmp" / "PCB_DATASET").mkdir(parents=True)
        (places.data / "pku_pcb").mkdir()
        assert accept(places).exit_code == 0
        assert [path.name for path in places.data.iterdir()] == ["pku_pcb"]


class TestLicence:
    def test_nobody_to_ask(self, source: Source, places: Places, server: Server) -> None:
        result = call(places, "pku_pcb")
        assert result.exit_code == 1 and "add --accept-licence" in result.stderr
        assert source.licence in result.stdout
        assert server.asked == [] and not places.data.exists() and not places.downloads.exists()

    @pytest.mark.usefixtures("source")
    @pytest.mark.parametrize("answer", [True, False])
    def test_a_person_is_asked(self, places: Places, server: Server, answer: bool) -> None:
        said: list[str] = []

        def run() -> None:
            command.run(
                "pku_pcb", accept=False, file=None, places=places, say=said.append, ask=lambda _: answer
            )

        if answer:
            run()
            note = json.loads((places.data / "pku_pcb/SOURCE.json").read_text())
            assert note["licence_accepted"] == "at the terminal"
        else:
            with pytest.raises(FetchError, match="not accepted; nothing was done"):
                run()
            assert server.asked == [] and not places.data.exists()


class TestRefusal:
    @pytest.mark.usefixtures("source")
    def test_a_dead_link(self, places: Places, server: Server) -> None:
        server.status = 404
        assert_refused(accept(places), "HTTP 404")
        assert not places.data.exists()

    def test_no_address_is_known(
        self, source: Source, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offer(source.model_copy(update={"address": None}), monkeypatch)
        assert_refused(accept(places), "no address")
        assert "plan: only by hand" in call(places).stdout

    @pytest.mark.parametrize("kind", ["sha256", "md5"])
    @pytest.mark.parametrize("given", [False, True])
    def test_another_checksum(
        self,
        source: Source,
        places: Places,
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
        result = accept(places, *(["--file", str(file)] if given else []))
        assert_refused(result, right, wrong)
        assert not places.data.exists() and file.exists()
        # A bad download is set aside, so that the next call does not take it again.
        names = {path.name for path in places.downloads.iterdir() if not path.name.endswith(".lock")}
        assert names == (set() if given else {"PCB_DATASET.zip.refused"})
        offer(source.model_copy(update={kind: right}), monkeypatch)
        assert accept(places).exit_code == 0
        note = json.loads((places.data / "pku_pcb/SOURCE.json").read_text())
        assert note["compared_with"] == "published checksum"

    def test_another_size(self, source: Source, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
        offer(source.model_copy(update={"size_bytes": 7}), monkeypatch)
        assert_refused(accept(places), "where 7 are published")

    @pytest.mark.usefixtures("source")
    def test_another_file_than_the_first_download(self, places: Places, tmp_path: Path) -> None:
        assert accept(places).exit_code == 0
        (places.data / "pku_pcb").rename(tmp_path / "away")
        file = write_zip(tmp_path / "new.zip", {**FILES, "more": b"1"})
        assert_refused(accept(places, "--file", str(file)), "the first download had", "delete")
        (places.downloads / "PCB_DATASET.zip.sha256").unlink()
        assert accept(places, "--file", str(file)).exit_code == 0

    @pytest.mark.usefixtures("source")
    def test_another_archive(self, places: Places, tmp_path: Path) -> None:
        file = write_zip(tmp_path / "DeepPCB.zip", {"PCBData/group00041/1.txt": b"1"})
        assert_refused(
            accept(places, "--file", str(file)), "DeepPCB.zip", "PCB_USED, images", "another archive"
        )
        assert tree(places.data) == {} and not (places.downloads / "PCB_DATASET.zip.sha256").exists()

    @pytest.mark.usefixtures("source")
    def test_a_hostile_archive(self, places: Places, server: Server, tmp_path: Path) -> None:
        server.content = write_zip(tmp_path / "evil.zip", {**FILES, "../../evil": b"1"}).read_bytes()
        assert_refused(accept(places), "leads out of the folder", "PCB_DATASET.zip.refused")
        assert tree(places.data) == {} and not (tmp_path / "evil").exists()

    @pytest.mark.usefixtures("source")
    def test_a_file_that_is_not_there(self, places: Places) -> None:
        assert_refused(accept(places, "--file", "nowhere.zip"), "nowhere.zip does not exist")

    @pytest.mark.usefixtures("source")
    @pytest.mark.parametrize("given", [False, True])
    def test_a_folder_that_is_taken(
        self, places: Places, server: Server, tmp_path: Path, given: bool
    ) -> None:
        (places.data / "pku_pcb").mkdir(parents=True)
        (places.data / "pku_pcb" / "mine.txt").write_text("mine")
        result = accept(places, *(["--file", str(tmp_path / "served.zip")] if given else []))
        assert result.exit_code == 1 and "is there already and not empty" in result.stderr
        assert tree(places.data) == {"pku_pcb/mine.txt": b"mine"} and server.asked == []
        assert "not made by this command" in call(places).stdout

    @pytest.mark.usefixtures("source")
    def test_two_at_a_time(self, places: Places) -> None:
        places.downloads.mkdir()
        with FileLock(places.downloads / ".pku_pcb.lock"):
            result = accept(places)
        assert result.exit_code == 1 and "by another process" in result.stderr

    def test_an_unknown_name(self, places: Places) -> None:
        result = call(places, "deep_pcb", "--accept-licence")
        assert result.exit_code == 1 and "choose one of pku_pcb, mvtec_ad" in result.stderr

    def test_a_file_without_a_name(self, places: Places) -> None:
        result = call(places, "--file", "x.zip")
        assert result.exit_code == 1 and "needs the dataset's name" in result.stderr
