"""Writing SynLCD as a prepared dataset: parallel, resumable, never half there under its final name."""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cadnet.config import SynLCDParams
from cadnet.files import file_digest, read_json, replace_directory, value_digest, write_json, write_text
from cadnet.images import encode_png
from cadnet.synthesis.generator import CLASSES, GENERATOR_VERSION, PALETTE, sample_name
from cadnet.synthesis.painting import Job, paint_all
from cadnet.synthesis.patterns import load_patterns
from cadnet.synthesis.progress import open_progress
from cadnet.synthesis.staging import (
    Staging,
    SynthesisError,
    Written,
    image_path,
    intact,
    mask_path,
    write_file,
)

SPLITS = ("train", "val", "test")
COLUMNS = (
    "sample_id", "image", "reference", "mask", "split", "subset", "group", "has_defect", "width", "height",
)  # fmt: skip
"""Columns of the manifest; pixel counts per class follow."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_dataset(
    params: SynLCDParams,
    out: Path | str,
    workers: int = 1,
    progress: bool = False,
    split_list: Path | str | None = None,
) -> Path:
    """Draw a whole SynLCD subset into the folder ``out`` as a prepared dataset and return ``out``.

    Samples collect in a hidden folder beside ``out`` that is renamed at the end. After Ctrl-C, a kill or a
    full disk the same call goes on where it stopped; finished samples are checked by digest. A dataset that
    is there already with the same parameters is checked and kept, one with others is replaced. The bytes do
    not depend on ``workers``. ``split_list``: csv with columns pattern,split; default ``params.split_list``.

    Raises:
        SynthesisError: the disk is full, ``out`` is some other folder, another process writes the same, or
        the
            split list is wrong.
        PatternError: clean patterns are missing or unusable.
        FileNotFoundError: no split list.
        ValueError: no defect can be drawn on a pattern.
    """
    out = Path(out).absolute()
    if workers < 1:
        raise SynthesisError(f"workers is {workers} and must be at least 1")
    splits = read_splits(params.split_list if split_list is None else split_list)
    patterns = load_patterns(params.patterns, params.size, list(splits))
    info = _describe(params, splits)
    jobs = list(_jobs(params, list(splits)))
    if not jobs:
        raise SynthesisError("defective_per_pattern and clean_per_pattern are both 0; raise one of them")
    try:
        with Staging(out, info["digest"]) as staging:
            if _complete(out, info["digest"]):
                return out
            done = _draw(params, patterns, staging, jobs, workers, progress)
            for name, pattern in patterns.items():
                write_file(staging.root / "references" / f"{name}.png", encode_png(pattern))
            _write_tables(params, staging.root, jobs, done, splits)
            _write_info(staging.root, jobs, splits, info)
            staging.strip()
            replace_directory(staging.root, out)
            staging.remove_others()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise SynthesisError(
            f"the disk that holds {out} is full; free some space and run again, finished samples are kept"
        ) from error
    return out


def _draw(
    params: SynLCDParams,
    patterns: dict[str, np.ndarray],
    staging: Staging,
    jobs: list[Job],
    workers: int,
    progress: bool,
) -> dict[str, Written]:
    """Draw what ``staging`` does not hold yet and return all samples by id."""
    done = staging.open()
    todo = [job for job in jobs if _name(params, job) not in done]
    title = f"SynLCD {params.subset} {params.size} px"
    with open_progress(progress, len(jobs), len(jobs) - len(todo), title) as bar:
        for samples in paint_all(params, patterns, staging.root, todo, workers):
            staging.record(samples)
            done.update((written.sample_id, written) for written in samples)
            bar.advance(len(samples))
    return done


def read_splits(path: Path | str) -> dict[str, str]:
    """Read the split list: pattern -> "train", "val" or "test", in file order.

    Raises:
        FileNotFoundError: no such file.
        SynthesisError: other columns, a pattern twice or an unknown split.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"split list {path} does not exist; restore it with `git checkout {path}`")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != ["pattern", "split"]:
        raise SynthesisError(f"split list {path} must start with the line pattern,split")
    splits: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or row[1] not in SPLITS or row[0] in splits:
            raise SynthesisError(
                f"split list {path}, line {number}: {','.join(row)!r}; give every pattern once, with train, "
                "val or test"
            )
        splits[row[0]] = row[1]
    return splits


def _describe(params: SynLCDParams, splits: dict[str, str]) -> dict[str, Any]:
    """All that decides the bytes of a dataset, and a digest of it."""
    info = {
        "generator": GENERATOR_VERSION,
        "versions": {"opencv": cv2.__version__, "numpy": np.__version__},
        "params": params.model_dump(mode="json", exclude={"patterns", "split_list"}),
        "sources": {name: file_digest(Path(params.patterns) / f"{name}.png") for name in splits},
    }
    return {**info, "digest": value_digest(info, splits)}


def _jobs(params: SynLCDParams, patterns: list[str]) -> Iterator[Job]:
    for pattern in patterns:
        for defective, count in ((True, params.defective_per_pattern), (False, params.clean_per_pattern)):
            for index in range(count):
                yield Job(pattern, index, defective)


def _name(params: SynLCDParams, job: Job) -> str:
    return sample_name(params.subset, job.pattern, job.number, job.defective)


def _complete(out: Path, digest: str) -> bool:
    """Whether ``out`` already is this dataset, with every sample intact.

    Raises:
        SynthesisError: ``out`` is something else than a SynLCD dataset, which is not to be overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        info = read_json(out / "dataset.json")
        known = str(info["name"]).startswith("synlcd-")
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise SynthesisError(f"{out} exists and is no SynLCD dataset; choose another folder or remove it")
    if info.get("digest") != digest:
        return False
    try:
        with (out / "checksums.csv").open(newline="", encoding="utf-8") as file:
            rows = [Written(row["sample_id"], (), row["image"], row["mask"]) for row in csv.DictReader(file)]
    except (OSError, KeyError):
        return False
    return (out / "manifest.csv").is_file() and all(intact(out, row) for row in rows)


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write_tables(
    params: SynLCDParams, root: Path, jobs: list[Job], done: dict[str, Written], splits: dict[str, str]
) -> None:
    """Write manifest.csv and checksums.csv in the order of ``jobs``."""
    manifest, checksums = [], []
    for job in jobs:
        name = _name(params, job)
        written = done[name]
        files = [image_path(name), f"references/{job.pattern}.png", mask_path(name)]
        place = [splits[job.pattern], params.subset, job.pattern]
        manifest.append([name, *files, *place, job.defective, params.size, params.size, *written.pixels])
        checksums.append([name, written.image, written.mask])
    write_text(root / "manifest.csv", _csv([*COLUMNS, *(f"n_{name}" for name in CLASSES)], manifest))
    write_text(root / "checksums.csv", _csv(["sample_id", "image", "mask"], checksums))


def _write_info(root: Path, jobs: list[Job], splits: dict[str, str], info: dict[str, Any]) -> None:
    counts = {"samples": len(jobs), "defective": sum(job.defective for job in jobs)}
    counts |= {split: sum(splits[job.pattern] == split for job in jobs) for split in SPLITS}
    value = {
        "name": f"synlcd-{info['params']['subset']}",
        "classes": list(CLASSES),
        "palette": [list(color) for color in PALETTE],
        "counts": counts,
        **info,
    }
    write_json(root / "dataset.json", value)
