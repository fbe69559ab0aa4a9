"""Writing SynLCD as a prepared dataset: parallel, resumable, never half there under its final name."""

from __future__ import annotations

import csv
import errno
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cadnet.config import SynLCDParams
from cadnet.files import file_digest, read_json, replace_directory, value_digest, write_json, write_text
from cadnet.images import encode_png
from cadnet.synthesis.generator import CLASSES, GENERATOR_VERSION, PALETTE, SynLCDGenerator, sample_name
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

CHUNK = 8
"""Samples per task: small enough for a smooth bar and a short loss on a kill."""


class Job(NamedTuple):
    """One sample to draw."""

    pattern: str
    index: int
    defective: bool


def write_dataset(
    params: SynLCDParams,
    out: Path | str,
    workers: int = 1,
    progress: bool = False,
    split_list: Path | str | None = None,
) -> Path:
    """Draw a whole SynLCD subset into the folder ``out`` as a prepared dataset and return ``out``.

    Samples collect in a hidden folder beside ``out`` that is renamed at the end. After Ctrl-C, a kill or a full disk
    the same call goes on where it stopped; finished samples are checked by digest. A dataset that is there already with
    the same parameters is checked and kept, one with others is replaced. The bytes do not depend on ``workers``.

    ``split_list``: csv with columns pattern,split; default ``params.split_list``.

    Raises:
        SynthesisError: the disk is full, ``out`` is some other folder, another process writes the same, or the split list
            is wrong.
        PatternError: clean patterns are missing or unusable.
        FileNotFoundError: no split list.
    """
    out = Path(out).absolute()
    if workers < 1:
        raise SynthesisError(f"workers is {workers} and must be at least 1")
    splits = read_splits(params.split_list if split_list is None else split_list)
    patterns = load_patterns(params.patterns, params.size, list(splits))
    sources = {name: file_digest(Path(params.patterns) / f"{name}.png") for name in splits}
    described = params.model_dump(mode="json", exclude={"patterns", "split_list"})
    digest = value_digest(GENERATOR_VERSION, described, sources, splits)
    jobs = list(_jobs(params, list(splits)))
    if _complete(out, digest):
        return out
    try:
        with Staging(out, digest) as staging:
            done = staging.finished()
            todo = [job for job in jobs if _name(params, job) not in done]
            with open_progress(progress, len(jobs), len(jobs) - len(todo), f"SynLCD {params.subset}") as bar:
                for samples in _draw_all(params, patterns, staging.root, todo, workers):
                    staging.record(samples)
                    done.update((written.sample_id, written) for written in samples)
                    bar.advance(len(samples))
            info = {
                "name": f"synlcd-{params.subset}",
                "digest": digest,
                "params": described,
                "sources": sources,
            }
            _write_tables(params, staging.root, jobs, done, splits, info)
            for name, pattern in patterns.items():
                write_file(staging.root / "references" / f"{name}.png", encode_png(pattern))
            staging.strip()
            replace_directory(staging.root, out)
            staging.remove_others()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SynthesisError(
                f"the disk that holds {out} is full; free some space and run again, finished samples are kept"
            ) from error
        raise
    return out


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
        if len(row) != 2 or row[1] not in ("train", "val", "test") or row[0] in splits:
            raise SynthesisError(
                f"split list {path} line {number} is {','.join(row)!r}; give every pattern once, "
                "with train, val or test"
            )
        splits[row[0]] = row[1]
    return splits


def _jobs(params: SynLCDParams, patterns: list[str]) -> Iterator[Job]:
    for pattern in patterns:
        for defective, count in ((True, params.defective_per_pattern), (False, params.clean_per_pattern)):
            for index in range(count):
                yield Job(pattern, index, defective)


def _name(params: SynLCDParams, job: Job) -> str:
    return sample_name(params.subset, job.pattern, job.index, job.defective)


def _complete(out: Path, digest: str) -> bool:
    """Whether ``out`` already is this dataset, with every file intact.

    Raises:
        SynthesisError: ``out`` is something else than a prepared SynLCD dataset, which is not to be overwritten.
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
        return (out / "manifest.csv").is_file() and all(intact(out, row) for row in rows)
    except (OSError, KeyError):
        return False


class _Painter:
    """Draws, encodes and writes samples in one process."""

    def __init__(self, params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path) -> None:
        self._generator = SynLCDGenerator(patterns, params)
        self._root = root

    def paint(self, jobs: list[Job]) -> list[Written]:
        written = []
        for job in jobs:
            sample = self._generator.sample(*job)
            counts = np.bincount(sample.mask.ravel(), minlength=len(CLASSES) + 1)[1:]
            image = write_file(self._root / image_path(sample.sample_id), encode_png(sample.image))
            mask = write_file(self._root / mask_path(sample.sample_id), encode_png(sample.mask))
            written.append(Written(sample.sample_id, tuple(int(n) for n in counts), image, mask))
        return written


_painter: _Painter | None = None
"""The one painter of a worker process, set by :func:`_start_worker`."""


def _start_worker(params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path, parent: int) -> None:
    global _painter
    # Ctrl-C reaches the whole group of processes; only the parent answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _painter = _Painter(params, patterns, root)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: after kill -9 nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _paint(jobs: list[Job]) -> list[Written]:
    assert _painter is not None
    return _painter.paint(jobs)


def _draw_all(
    params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path, jobs: list[Job], workers: int
) -> Iterator[list[Written]]:
    """Draw ``jobs`` in ``workers`` processes (none extra for one) and yield what is finished, in any order."""
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    if workers == 1 or len(chunks) < 2:
        painter = _Painter(params, patterns, root)
        for chunk in chunks:
            yield painter.paint(chunk)
        return
    # Spawned, not forked: a fork copies locks that threads of the caller may hold, and the staging folder's lock.
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), get_context("spawn"), _start_worker, (params, patterns, root, os.getpid())
    )
    waiting: set[Future[list[Written]]] = set()
    try:
        remaining = iter(chunks)
        for chunk in remaining:
            waiting.add(pool.submit(_paint, chunk))
            if len(waiting) >= 4 * workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
    except BrokenProcessPool as error:
        raise SynthesisError(
            "a drawing process ended unexpectedly (out of memory?); run again with fewer workers, "
            "finished samples are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _write_tables(
    params: SynLCDParams,
    root: Path,
    jobs: list[Job],
    done: dict[str, Written],
    splits: dict[str, str],
    info: dict[str, Any],
) -> None:
    """Write manifest.csv, checksums.csv and dataset.json in the order of ``jobs``."""
    manifest, checksums = [], []
    for job in jobs:
        name = _name(params, job)
        written = done[name]
        files = [image_path(name), f"references/{job.pattern}.png", mask_path(name)]
        place = [splits[job.pattern], params.subset, job.pattern]
        manifest.append([name, *files, *place, job.defective, params.size, params.size, *written.pixels])
        checksums.append([name, written.image, written.mask])
    columns = "sample_id image reference mask split subset group has_defect width height".split()
    write_text(root / "manifest.csv", _csv(columns + [f"n_{name}" for name in CLASSES], manifest))
    write_text(root / "checksums.csv", _csv(["sample_id", "image", "mask"], checksums))
    counts = {split: sum(splits[job.pattern] == split for job in jobs) for split in ("train", "val", "test")}
    versions = {"opencv": cv2.__version__, "numpy": np.__version__}
    write_json(
        root / "dataset.json",
        {
            "name": info["name"],
            "classes": list(CLASSES),
            "palette": [list(color) for color in PALETTE],
            "counts": {"samples": len(jobs), "defective": sum(job.defective for job in jobs), **counts},
            "generator": GENERATOR_VERSION,
            "versions": versions,
            "params": info["params"],
            "sources": info["sources"],
            "digest": info["digest"],
        },
    )
