from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import SplitParams
from cadnet.datasets.manifest import open_dataset
from cadnet.files import file_digest, read_json
from cadnet.preparers.pku_pcb.plan import plan_pku_pcb, split_photographs
from cadnet.writing.units import PreparationError
from tests.fake_pku import pku_params, prepare_pku, write_annotation, write_fake_pku, write_jpeg
from tests.samples import sample

ROOT = Path(__file__).parents[3]
SPLITS = ROOT / "splits" / "pku_pcb.csv"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two boards, six classes, one photograph of each, with rotated copies; not to be changed."""
    return write_fake_pku(tmp_path_factory.mktemp("pku") / "raw", 1, rotation="grown")


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): file_digest(path) for path in root.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_workers_or_the_run(raw: Path, tmp_path: Path) -> None:
    one, again = (prepare_pku(raw, tmp_path / name, rotated=False).root for name in ("one", "again"))
    assert tree(one) == tree(again) == tree(prepare_pku(raw, tmp_path / "two", 2, rotated=False).root)
    moved = prepare_pku(raw, tmp_path / "moved", rotated=False, seed=1).manifest
    assert list(moved["x"]) != list(open_dataset(one).manifest["x"])


def test_a_copy_of_another_photograph_is_reported_with_all_others(tmp_path: Path) -> None:
    root = write_fake_pku(tmp_path / "raw", 1, ("01", "07"), ("short", "spur"), rotation="grown")
    copies = root / "rotation" / "Short_rotation"
    shutil.copy(copies / "07_short_01.jpg", copies / "01_short_01.jpg")
    write_jpeg(copies / "07_short_01.jpg", np.zeros((90, 90, 3), np.uint8))
    with pytest.raises(PreparationError) as caught:
        prepare_pku(root, tmp_path / "out")
    message = str(caught.value)
    assert "2 problems" in message and "01_short_01.jpg is not its original" in message
    assert not (tmp_path / "out").exists()


def test_notes_say_what_is_missing(tmp_path: Path) -> None:
    root = write_fake_pku(tmp_path / "raw", 1, ("01",), ("short", "spur"))
    write_annotation(root / "Annotations" / "Spur" / "01_spur_01.xml", "spur", [(390, 280, 430, 300)])
    notes = read_json(prepare_pku(root, tmp_path / "out").root / "dataset.json")["notes"]
    assert any("no rotated copy" in note for note in notes)
    assert any(
        "no photograph shows missing_hole, mouse_bite, open_circuit, spurious_copper" in n for n in notes
    )
    assert any("1 boxes reach over the edge" in note for note in notes)
    assert any(note.startswith("3 of 4 masks come from the difference") for note in notes)


def test_a_split_list_that_lacks_photographs_is_named_with_the_fix(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("photograph,split\n01_short_01,train\n")
    with pytest.raises(PreparationError, match=r"does not name 11 photographs: 01_mis.*split_list: null"):
        plan_pku_pcb(pku_params(raw, split_list=str(tmp_path / "splits.csv")))


def test_the_committed_split_is_the_one_drawn_from_all_photographs() -> None:
    names = [path.stem for path in sample("pku-pcb-annotations").rglob("*.xml")]
    splits = split_photographs(names, SplitParams())
    text = "photograph,split\n" + "".join(f"{name},{split}\n" for name, split in splits.items())
    assert SPLITS.read_text() == text
    assert Counter(splits.values()) == {"train": 437, "val": 48, "test": 208}


def test_the_committed_split_holds_every_class_and_board_in_proportion() -> None:
    with SPLITS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 693
    strata = Counter(row["photograph"].rpartition("_")[0] for row in rows)
    test = Counter(row["photograph"].rpartition("_")[0] for row in rows if row["split"] == "test")
    assert len(strata) == 60 and all(abs(test[s] - 0.3 * strata[s]) < 1 for s in strata)
