from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cadnet.datasets.cache import decode_split
from cadnet.datasets.manifest import open_dataset
from cadnet.files import file_digest, read_json
from cadnet.writing.dataset import write_dataset
from cadnet.writing.units import Output, Plan, PreparationError, Unit, mask_pixels

pytestmark = pytest.mark.slow

SPLIT = ("train", "val", "test", "unlabelled")


class Stripes:
    """Two samples a unit; units whose payload is a text are unusable for that reason."""

    def render(self, unit: Unit, output: Output) -> None:
        if isinstance(unit.payload, str):
            raise ValueError(unit.payload)
        for part in "ab":
            name = f"{unit.unit_id}{part}"
            image = np.full((8, 8, 3), unit.payload, np.uint8)
            mask = np.zeros((8, 8), np.uint8)
            mask[: unit.payload % 8] = 1
            labelled = unit.payload % 4 < 3
            pixels = mask_pixels(mask, ("stripe",)) if labelled else {"n_stripe": 0}
            output.row(
                sample_id=name,
                image=output.image("images", name, image),
                reference=output.image("references", name, image),
                mask=output.image("masks", name, mask) if labelled else "",
                split=SPLIT[unit.payload % 4],
                subset="toy",
                group=unit.unit_id,
                has_defect=bool(pixels["n_stripe"]),
                width=8,
                height=8,
                **pixels,
                depth=unit.payload,
            )
            output.record("defects", sample_id=name, area=pixels["n_stripe"])


class SlowStripes(Stripes):
    """The same, slow enough to be killed in the middle."""

    def render(self, unit: Unit, output: Output) -> None:
        time.sleep(0.01)
        super().render(unit, output)


def plan(count: int = 8, broken: dict[str, str] | None = None, chunk: int = 1, slow: bool = False) -> Plan:
    units = [Unit(f"u{i:04d}", (broken or {}).get(f"u{i:04d}", i % 256)) for i in range(count)]
    return Plan(
        preparer="toy",
        name="toy",
        classes=("stripe",),
        palette=((255, 0, 0),),
        units=tuple(units),
        renderer=SlowStripes() if slow else Stripes(),
        description={"params": {"count": count}},
        chunk=chunk,
        summarise=lambda rows, records: {"notes": [f"{len(rows)} rows, {len(records['defects'])} defects"]},
    )


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): file_digest(path) for path in root.rglob("*") if path.is_file()}


def test_rows_tables_and_description(tmp_path: Path) -> None:
    out = write_dataset(plan(), tmp_path / "out")
    dataset = open_dataset(out)
    assert dataset.manifest["sample_id"].tolist() == [f"u{i:04d}{p}" for i in range(8) for p in "ab"]
    assert dataset.manifest["depth"].tolist() == [i for i in range(8) for _ in "ab"]
    assert pd.read_csv(out / "defects.csv")["area"].tolist()[:6] == [0, 0, 8, 8, 16, 16]
    info = read_json(out / "dataset.json")
    assert info["counts"] == {
        "samples": 16, "defective": 10, "train": 4, "val": 4, "test": 4, "unlabelled": 4,
    }  # fmt: skip
    assert info["notes"] == ["16 rows, 16 defects"] and info["preparer"] == "toy"


def test_unlabelled_samples_decode_to_ignored_masks(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(plan(), tmp_path / "out"))
    assert (decode_split(dataset, "unlabelled", tmp_path / "cache").masks == 255).all()
    assert set(np.unique(decode_split(dataset, "train", tmp_path / "cache").masks)) <= {0, 1}


def test_workers_and_chunks_change_nothing(tmp_path: Path) -> None:
    one = write_dataset(plan(20), tmp_path / "one")
    two = write_dataset(plan(20, chunk=3), tmp_path / "two", workers=2)
    assert tree(one) == tree(two)


def test_all_unusable_material_is_reported_at_once_and_the_rest_kept(tmp_path: Path) -> None:
    broken = {"u0001": "a.jpg is cut short", "u0006": "b.jpg is no image\nc.xml has no box"}
    for workers in (1, 2):
        with pytest.raises(PreparationError) as caught:
            write_dataset(plan(broken=broken), tmp_path / "out", workers=workers)
        lines = str(caught.value).splitlines()
        assert lines[0].startswith("3 problems in the raw material of toy")
        assert lines[1:] == ["a.jpg is cut short", "b.jpg is no image", "c.xml has no box"]
        assert not (tmp_path / "out").exists()
    (staged,) = tmp_path.glob(".out.partial-*[0-9a-f]")
    assert len(list((staged / "images").iterdir())) == 12
    assert tree(write_dataset(plan(), tmp_path / "out")) == tree(write_dataset(plan(), tmp_path / "whole"))


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(PreparationError) as caught:
        write_dataset(plan(30, {f"u{i:04d}": f"file {i:02d}" for i in range(30)}), tmp_path / "out")
    assert str(caught.value).splitlines()[-2:] == ["file 19", "and 10 more"]


def test_empty_and_repeated_plans(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="nothing to prepare"):
        write_dataset(plan(0), tmp_path / "out")
    twice = plan(2)
    twice = Plan(**{**twice.__dict__, "units": (*twice.units, twice.units[0])})
    with pytest.raises(PreparationError, match=r"names \['u0000'\] twice"):
        write_dataset(twice, tmp_path / "out")


def test_a_table_that_was_edited_is_restored(tmp_path: Path) -> None:
    out = write_dataset(plan(), tmp_path / "out")
    before = tree(out)
    (out / "manifest.csv").write_text((out / "manifest.csv").read_text().replace("train", "test"))
    assert tree(write_dataset(plan(), out)) == before


def test_other_tools_that_make_the_same_bytes_make_the_same_dataset(tmp_path: Path) -> None:
    out = write_dataset(plan(), tmp_path / "out")
    before, digest = tree(out), open_dataset(out).digest
    write_dataset(Plan(**{**plan().__dict__, "tools": {"code": "newer"}}), out)
    after = tree(out)
    assert after.pop("plan.json") != before.pop("plan.json") and after == before
    assert open_dataset(out).digest == digest


def test_files_of_another_version_are_noticed(tmp_path: Path) -> None:
    out = write_dataset(plan(4), tmp_path / "out")
    note = (out / "plan.json").read_bytes()
    before = tree(write_dataset(plan(), out))
    # As after checking out another version of the data, of which the note is no part.
    (out / "plan.json").write_bytes(note)
    assert tree(write_dataset(plan(), out)) == before


def test_another_preparers_dataset_is_not_replaced(tmp_path: Path) -> None:
    out = write_dataset(plan(), tmp_path / "out")
    other = Plan(**{**plan().__dict__, "preparer": "other"})
    with pytest.raises(PreparationError, match="no dataset of the preparer other"):
        write_dataset(other, out)


WRITE = "import sys; from tests.unit.writing.test_dataset import plan; from cadnet.writing.dataset import *\n"
WRITE += (
    "if __name__ == '__main__': write_dataset(plan(200, slow=True), sys.argv[1], workers=int(sys.argv[2]))\n"
)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_it_ends_the_same(tmp_path: Path, workers: int) -> None:
    (tmp_path / "write.py").write_text(WRITE)
    command = [sys.executable, "write.py", str(tmp_path / "out"), str(workers)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".out.partial-*/images/*.png"))) < 50 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    kept = len(list(tmp_path.glob(".out.partial-*/images/*.png")))
    assert 50 <= kept < 400
    whole = write_dataset(plan(200), tmp_path / "whole")
    assert tree(write_dataset(plan(200), tmp_path / "out")) == tree(whole)
