"""The list of datasets says what they are, and what nobody could check."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from cadnet.cli import app
from cadnet.config import MvtecAdParams, PkuPcbParams
from cadnet.fetching.sources import load_sources


def test_the_list_is_complete_and_honest(tmp_path: Path) -> None:
    folders = ["--data", str(tmp_path / "data"), "--downloads", str(tmp_path / "downloads")]
    result = CliRunner().invoke(app, ["fetch-data", *folders])
    assert result.exit_code == 0
    for name, source in load_sources().items():
        for told in (name, source.licence, source.citation, source.page, *source.unverified):
            assert told in result.stdout
        assert source.page.startswith("https://") and (source.address or "https:").startswith("https://")
        assert source.has_checksum or any("checksum" in text for text in source.unverified)
    assert result.stdout.count("absent") == len(load_sources()) and list(tmp_path.iterdir()) == []


def test_names_are_those_of_the_preparers() -> None:
    raw = {PkuPcbParams(preparer="pku_pcb").raw, MvtecAdParams(preparer="mvtec_ad").raw}
    assert raw == {f"data/{name}" for name in load_sources()}
