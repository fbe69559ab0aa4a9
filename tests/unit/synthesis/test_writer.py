from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cadnet.config import Range, ScreenParams, SynLCDParams
from cadnet.files import file_digest, read_json
from cadnet.images import read_image, read_mask, write_png
from cadnet.synthesis import writer
from cadnet.synthesis.generator import SynLCDGenerator
from cadnet.synthesis.patterns import PatternError, load_patterns
from cadnet.synthesis.writer import write_synlcd
from cadnet.writing import units
from cadnet.writing.staging import Staging
from cadnet.writing.units import PreparationError

pytestmark = pytest.mark.slow

WRITE = """
import sys
from pathlib import Path
from cadnet.config import SynLCDParams
from cadnet.synthesis.writer import write_synlcd
if __name__ == "__main__":
    params = SynLCDParams.model_validate_json(Path(sys.argv[1]).read_text())
    write_synlcd(params, sys.argv[2], workers=int(sys.argv[3]))
"""


def tree(root: Path) -> dict[str, str]:
    """Every file below ``root``, hidden ones too, with its digest."""
    return {str(path.relative_to(root)): file_digest(path) for path in root.rglob("*") if path.is_file()}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def start(tmp_path: Path, material: SynLCDParams) -> subprocess.Popen[bytes]:
    """Two processes that write a large dataset, after their first samples are noted in the journal."""
    params = material.model_copy(update={"defective_per_pattern": 20000})
    (tmp_path / "write.py").write_text(WRITE)
    (tmp_path / "params.json").write_text(params.model_dump_json())
    command = [sys.executable, "write.py", "params.json", str(tmp_path / "out"), "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 40
    journal = ".out.partial-*/journal.jsonl"
    while not any(path.stat().st_size for path in tmp_path.glob(journal)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def test_a_dataset_follows_the_data_contract(material: SynLCDParams, tmp_path: Path) -> None:
    out = write_synlcd(material, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "checksums.csv", "dataset.json", "images", "manifest.csv", "masks", "plan.json", "references",
    ]  # fmt: skip
    table = rows(out)
    assert list(table[0]) == [
        "sample_id", "image", "reference", "mask", "split", "subset", "group", "has_defect",
        "width", "height", "n_line", "n_abpt",
    ]  # fmt: skip
    expected = [
        f"mixed-{p}-{k}{i:04d}" for p in ("01", "02", "03") for k, n in (("d", 4), ("c", 3)) for i in range(n)
    ]
    assert [row["sample_id"] for row in table] == expected
    assert {row["group"]: row["split"] for row in table} == {"01": "train", "02": "val", "03": "test"}
    generator = SynLCDGenerator(load_patterns(material.patterns, material.size, ["01", "02", "03"]), material)
    for row in table:
        mask = read_mask(out / row["mask"], 2)
        sample = generator.sample(row["group"], int(row["sample_id"][-4:]), row["has_defect"] == "True")
        assert (mask == sample.mask).all() and (read_image(out / row["image"]) == sample.image).all()
        assert (read_image(out / row["reference"]) == sample.reference).all()
        assert [int(row["n_line"]), int(row["n_abpt"])] == [int((mask == c).sum()) for c in (1, 2)]
        assert (int(row["width"]), int(row["height"])) == mask.shape
        assert row["has_defect"] == str("-d" in row["sample_id"]) == str(bool(mask.any()))
    info = read_json(out / "dataset.json")
    assert (
        info["name"] == "synlcd-mixed" and info["classes"] == ["line", "abpt"] and len(info["palette"]) == 2
    )
    assert info["counts"] == {"samples": 21, "defective": 12, "train": 7, "val": 7, "test": 7}
    assert info["sources"]["01"] == file_digest(Path(material.patterns) / "01.png")
    assert info["params"]["masks"] == "geometry", "a dataset says which masks it has"
    assert str(tmp_path) not in (out / "dataset.json").read_text()


def test_further_kinds_and_frames_reach_the_dataset(material: SynLCDParams, tmp_path: Path) -> None:
    screen = ScreenParams(bezel=Range(low=30, high=30, step=1))
    params = material.model_copy(update={"subset": "all", "masks": "visible", "screen": screen})
    out = write_synlcd(params, tmp_path / "out")
    info = read_json(out / "dataset.json")
    assert info["classes"] == ["line", "abpt", "mura", "pixel"] and len(info["palette"]) == 4
    assert info["params"]["masks"] == "visible"
    for row in rows(out):
        counts = [int(row[f"n_{name}"]) for name in info["classes"]]
        assert min(counts) > 0 if row["has_defect"] == "True" else not any(counts)
    reference = read_image(out / "references" / "01.png")
    assert (reference[:5] == (16, 16, 18)).all() and reference[10:-10, 10:-10].max() > 200


def test_bytes_do_not_depend_on_the_number_of_workers(
    material: SynLCDParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHUNK_PIXELS", 3 * 96 * 96)
    one = write_synlcd(material, tmp_path / "one", workers=1)
    three = write_synlcd(material, tmp_path / "three", workers=3)
    assert tree(one) == tree(three)


def test_processes_end_when_their_parent_is_killed(material: SynLCDParams, tmp_path: Path) -> None:
    process = start(tmp_path, material)
    process.kill()
    process.wait()
    assert ended(process.pid)


def ended(session: int) -> bool:
    """Whether a session's processes end; Python's resource tracker does a moment after its parent."""
    deadline = time.monotonic() + 10
    while members(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    return members(session) == []


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def test_a_killed_worker_is_explained(material: SynLCDParams, tmp_path: Path) -> None:
    process = start(tmp_path, material)
    workers = [
        pid for pid in members(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert "PreparationError: a worker process ended unexpectedly" in errors.decode()
    assert ended(process.pid) and list(tmp_path.glob(".out.partial-*/images/*.png"))


def test_interrupt_keeps_finished_samples(material: SynLCDParams, tmp_path: Path) -> None:
    process = start(tmp_path, material)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and errors.decode().rstrip().endswith("KeyboardInterrupt")
    (staged,) = tmp_path.glob(".out.partial-*[0-9a-f]")
    with Staging(tmp_path / "out", staged.name.rsplit("-", 1)[1]) as staging:
        assert len(staging.open(())) > 0
    assert not (tmp_path / "out").exists() and ended(process.pid)


def test_broken_samples_of_an_earlier_run_are_generated_again(
    material: SynLCDParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tree(write_synlcd(material, tmp_path / "whole"))
    staged = fill_the_disk(material, tmp_path / "out", monkeypatch, after=18)
    done = sorted((staged / "images").glob("*.png"))
    assert len(done) == 18
    done[0].write_bytes(done[0].read_bytes()[:-7])
    done[1].unlink()
    journal = staged / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (staged / "images" / ".mixed-01-d0000.png.12345").write_bytes(b"left by a killed process")
    assert tree(write_synlcd(material, tmp_path / "out")) == whole


def fill_the_disk(params: SynLCDParams, out: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> Path:
    """Write a dataset on a disk that is full ``after`` some samples and return the staging folder."""
    written = 0

    def write(path: Path, data: bytes) -> str:
        nonlocal written
        written += path.parent.name == "images"
        if written > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, data)

    original = units.write_file
    with monkeypatch.context() as patch:
        patch.setattr(units, "write_file", write)
        patch.setattr(writer, "CHUNK_PIXELS", 2 * params.size**2)
        with pytest.raises(
            PreparationError, match=r"disk that holds .* is full; free some space and run again"
        ):
            write_synlcd(params, out)
    assert not out.exists()
    (staged,) = out.parent.glob(f".{out.name}.partial-*[0-9a-f]")
    return staged


def test_a_finished_dataset_is_kept_and_a_damaged_one_replaced(
    material: SynLCDParams, tmp_path: Path
) -> None:
    out = write_synlcd(material, tmp_path / "out")
    before, times = tree(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    write_synlcd(material, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times
    (out / "images" / "mixed-02-d0001.png").write_bytes(b"damaged")
    write_synlcd(material, out)
    assert tree(out) == before


def test_other_parameters_replace_the_dataset_and_clear_its_leftovers(
    material: SynLCDParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(material.model_copy(update={"seed": 5}), tmp_path / "out", monkeypatch, after=4)
    write_synlcd(material, tmp_path / "out")
    write_synlcd(material.model_copy(update={"subset": "line"}), tmp_path / "out")
    assert {row["subset"] for row in rows(tmp_path / "out")} == {"line"}
    assert all(row["n_abpt"] == "0" for row in rows(tmp_path / "out"))
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_changed_pattern_makes_another_dataset(material: SynLCDParams, tmp_path: Path) -> None:
    out = write_synlcd(material, tmp_path / "out")
    digest = read_json(out / "plan.json")["digest"]
    write_png(
        Path(material.patterns) / "02.png", np.roll(read_image(Path(material.patterns) / "02.png"), 9, 0)
    )
    assert read_json(write_synlcd(material, out) / "plan.json")["digest"] != digest


def test_a_folder_that_is_no_dataset_is_left_alone(material: SynLCDParams, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(PreparationError, match="mine exists and is no dataset of the preparer synlcd"):
        write_synlcd(material, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert len(rows(write_synlcd(material, tmp_path / "empty"))) == 21


def test_two_writers_of_one_dataset(material: SynLCDParams, tmp_path: Path) -> None:
    with (
        Staging(tmp_path / "out", "0" * 16),
        pytest.raises(PreparationError, match="another process is writing"),
        Staging(tmp_path / "out", "0" * 16),
    ):
        pass


def test_bad_arguments_are_named_before_anything_is_written(material: SynLCDParams, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PreparationError, match="workers is 0"):
        write_synlcd(material, out, workers=0)
    with pytest.raises(PreparationError, match="both 0"):
        write_synlcd(material.model_copy(update={"defective_per_pattern": 0, "clean_per_pattern": 0}), out)
    (Path(material.patterns) / "02.png").unlink()
    with pytest.raises(PatternError, match=r"1 of 3 clean patterns.*02\.png does not exist.*dvc pull"):
        write_synlcd(material, out)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
