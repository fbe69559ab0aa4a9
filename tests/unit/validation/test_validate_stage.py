"""Stage ``validate``: every rule on a dataset that breaks it, and on one that does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cadnet.datasets.manifest import DatasetError
from cadnet.files import read_json, write_json
from cadnet.images import read_mask, write_png
from cadnet.validation import rules
from tests.validation_project import DATASET, OUT, Summary, enter, failed, judge, message, record, rewrite

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A project whose dataset passed, with its summary and the docs."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("sound")
        enter(folder, patch, docs=True)
        record()
        return folder, judge()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """The summary of a dataset of which nearly every sample breaks a rule of its own."""
    with pytest.MonkeyPatch.context() as patch:
        enter(tmp_path_factory.mktemp("broken"), patch)
        record()
        break_files()
        rewrite(break_rows)
        return judge()


def break_files() -> None:
    # Not the pixels are changed but the bytes: only the recorded digest can tell.
    with (DATASET / "masks/02-005.png").open("ab") as file:
        file.write(b"x")
    (DATASET / "images/01-002.png").unlink()
    image = DATASET / "images/01-003.png"
    image.write_bytes(image.read_bytes()[:-40])
    (DATASET / "masks/01-005.png").write_bytes(b"no picture")
    write_png(DATASET / "images/02-001.png", np.zeros((16, 16, 3), np.uint8))
    write_png(DATASET / "masks/02-002.png", np.zeros((32, 32, 3), np.uint8))
    write_png(DATASET / "masks/02-003.png", np.full((32, 32), 77, np.uint8))
    for kind in ("images", "masks"):
        shutil.copyfile(DATASET / kind / "03-001.png", DATASET / kind / "04-001.png")


def break_rows(table: pd.DataFrame) -> None:
    table.index = pd.Index(table["sample_id"])
    table.loc["01-001", "sample_id"] = "01-000"
    table.loc["01-004", "reference"] = "references/none.png"
    table.loc["02-000", "width"] = "31"
    table.loc["02-004", "n_line"] = "7"
    table.loc["02-005", "has_defect"] = "1"
    table.loc[["03-000", "04-000"], "group"] = "both"
    table.loc["04-001", ["n_line", "n_abpt"]] = table.loc["03-001", ["n_line", "n_abpt"]]
    table.loc["04-003", ["split", "group"]] = ["tset", "alone"]
    table.loc["04-002", "has_defect"] = "maybe"
    table.loc["04-004", "height"] = "tall"
    table.loc["04-005", "n_abpt"] = "-1"
    table.loc["03-002", "image"] = ""
    table.loc["03-003", "mask"] = ""
    table.loc["03-004", "group"] = " "
    table.loc["03-005", "image"] = "../../params.yaml"
    table.loc["free-18", "sample_id"] = ""
    table.loc["free-19", "n_line"] = "3"


BROKEN = {
    "unique_ids": ["01-000", "01-000"],
    "sample_id_given": ["line 26"],
    "image_given": ["03-002"],
    "group_given": ["03-004"],
    "splits_known": ["04-003"],
    "has_defect_type": ["04-002"],
    "height_type": ["04-004"],
    "n_abpt_type": ["04-005"],
    "image_decodes": ["01-002", "01-003", "03-002", "03-005"],
    "reference_decodes": ["01-004"],
    "mask_decodes": ["01-005"],
    "unchanged": ["02-001", "02-002", "02-003", "02-005", "04-001"],
    "image_size": ["02-000", "02-001"],
    "one_size": ["02-001"],
    "reference_size": ["02-001"],
    "mask_size": ["02-001"],
    "labelled": ["03-003", "free-19"],
    "mask_form": ["02-002"],
    "mask_values": ["02-003"],
    # A mask without known values shows none of its pixels either.
    "n_line": ["02-003", "02-004"],
    "n_abpt": ["02-003", "04-005"],
    "has_defect": ["02-003", "02-005"],
    "groups": ["03-000", "04-000"],
    "duplicates": ["04-001"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_names_its_rows(broken: Summary, name: str) -> None:
    assert failed(broken).get(name) == BROKEN[name]


def test_a_sound_dataset_passes_every_check(sound: tuple[Path, Summary]) -> None:
    summary = sound[1]
    assert {check["name"] for check in summary["checks"]} >= {*BROKEN, "width_type", "n_line_type", "opens"}
    assert failed(summary) == {}
    assert summary["samples"] == {"train": 12, "val": 6, "test": 6, "unlabelled": 2}
    assert summary["warnings"] == []
    # It says nothing of labels or alignment, so there is nothing to say of them; all else was looked at.
    unseen = [check["name"] for check in summary["checks"] if check["passed"] is None]
    assert unseen == ["labels_kept", "label_classes", "alignment"]


def test_nothing_else_is_found_broken(broken: Summary) -> None:
    assert set(failed(broken)) == set(BROKEN)
    assert {row["subject"] for c in broken["checks"] for row in c["rows"] if not row["path"]} == {"03-002"}


def test_messages_say_what_is_wrong(broken: Summary) -> None:
    assert "image datasets/synlcd/images/01-002.png does not exist" in message(broken, "image_decodes")
    assert message(broken, "image_size") == "image_size 32 x 32, manifest_size 31 x 32"
    assert message(broken, "mask_values") == "holds values [77]"
    assert message(broken, "mask_form") == "has 3 channels of 8 bits"
    assert message(broken, "groups") == "group both, split val, group_splits 2"
    assert message(broken, "duplicates") == "shows the same as 03-001 (images/03-001.png, val)"
    assert message(broken, "image_given") == "image ''"
    assert message(broken, "labelled") == "has no mask, so its split must be unlabelled"


def test_the_folder_holds_all_there_is_to_see(sound: tuple[Path, Summary]) -> None:
    folder = sound[0] / OUT
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", "profile.json", "index.html", "docs", "sheets",
    }  # fmt: skip
    assert {path.name for path in (folder / "sheets").iterdir()} == {"line.png", "abpt.png", "clean.png"}
    docs = (folder / "docs/index.html").read_text("utf-8")
    assert all(name in docs for name in ("manifest", "samples", "splits", "classes"))
    assert list((folder / "docs/validations/samples").rglob("*.html"))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["synlcd"]
    profile = read_json(folder / "profile.json")
    assert profile["comparison"] == "no earlier profile: not compared"
    assert profile["splits"]["train"]["figures"]["defect_rate"]["value"] == pytest.approx(8 / 12, abs=1e-6)


def test_the_page_needs_nothing_else(sound: tuple[Path, Summary]) -> None:
    page = (sound[0] / OUT / "index.html").read_text("utf-8")
    assert "Passed all" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == 3


@pytest.mark.slow
def test_names_are_no_markup_on_any_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch, docs=True)
    evil = "<script>alert(1)</script>"

    def spoil(table: pd.DataFrame) -> None:
        table.loc[0:1, "sample_id"] = evil
        for row, column in enumerate(("image", "group", "split", "reference"), start=2):
            table.loc[row, column] = evil

    rewrite(spoil)
    summary = judge()
    assert evil in str(summary)
    pages = {path: path.read_text("utf-8") for path in OUT.rglob("*.html")}
    assert sum("&lt;script&gt;alert(1)" in text for text in pages.values()) >= 2
    assert [path for path, text in pages.items() if "<script>alert" in text] == []


class TestLabels:
    def name(self, labels: object) -> None:
        """Say what labels name; photograph ``a`` became a sample with lines alone, ``b`` a clean one."""
        info = read_json(DATASET / "dataset.json")
        write_json(DATASET / "dataset.json", {**info, "labels": labels})
        mask = read_mask(DATASET / "masks/01-000.png", 2)
        write_png(DATASET / "masks/01-000.png", np.where(mask == 1, mask, 0).astype(np.uint8))
        record()

        def sourced(table: pd.DataFrame) -> None:
            table["source"] = table["sample_id"].map({"01-000": "a", "01-002": "b"}).fillna("")
            table.loc[table["sample_id"] == "01-000", "n_abpt"] = "0"

        rewrite(sourced)

    def test_a_photograph_that_lost_its_label(self, project: Path) -> None:
        self.name({"a": ["line"], "b": ["abpt", "line"], "gone": ["line"]})
        summary = judge()
        assert failed(summary) == {"labels_kept": ["b", "gone"]}
        assert message(summary, "labels_kept") == "no pixel of abpt, line is left"

    @pytest.mark.parametrize(
        ("labels", "warned"),
        [({"a": ["line", "abpt"]}, ["a"]), ({"a": ["line"]}, ["abpt"]), ({}, ["line", "abpt"])],
    )
    def test_what_is_a_warning(self, project: Path, labels: dict[str, list[str]], warned: list[str]) -> None:
        self.name(labels)
        summary = judge()
        assert failed(summary) == {}
        assert [row["subject"] for row in summary["warnings"]] == warned

    def test_a_class_of_which_nothing_is_left(self, project: Path) -> None:
        self.name({"a": ["line", "scratch"]})
        assert failed(judge()) == {"label_classes": ["scratch"]}

    def test_an_entry_of_another_form(self, project: Path) -> None:
        self.name(["a"])
        assert failed(judge()) == {"tables": ["dataset.json"]}


class TestTables:
    def test_a_missing_column_is_the_only_finding(self, project: Path) -> None:
        rewrite(lambda table: table.drop(columns=["reference", "n_abpt"]))
        summary = judge()
        assert failed(summary) == {"columns": ["manifest.csv"]}
        assert "lacks the columns n_abpt, reference" in message(summary, "columns")
        assert not (OUT / "sheets").exists()

    def test_an_empty_table(self, project: Path) -> None:
        rewrite(lambda table: table.head(0))
        assert failed(judge()) == {"rows": ["manifest.csv"]}

    @pytest.mark.parametrize(
        ("name", "text"),
        [("dataset.json", "{"), ("dataset.json", '{"classes": []}'), ("manifest.csv", "")],
    )
    def test_an_unusable_file_is_named(self, project: Path, name: str, text: str) -> None:
        (DATASET / name).write_text(text, "utf-8")
        summary = judge()
        assert failed(summary) == {"tables": [name]}
        assert "prepare the dataset again" in message(summary, "tables")

    def test_what_only_the_contract_refuses(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(root: Path) -> None:
            raise DatasetError("something new")

        monkeypatch.setattr(rules, "open_dataset", refuse)
        assert failed(judge()) == {"opens": ["synlcd"]}
