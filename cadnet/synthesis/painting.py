"""Drawing many samples in several processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from cadnet.config import SynLCDParams
from cadnet.images import encode_png
from cadnet.synthesis.generator import CLASSES, SynLCDGenerator
from cadnet.synthesis.staging import SynthesisError, Written, image_path, mask_path, write_file

CHUNK_PIXELS = 8 * 512 * 512
"""Pixels per task: few enough for a smooth bar, a quick Ctrl-C and a short loss on a kill."""
PARENT_SECONDS = 0.5
"""How often a drawing process looks whether its parent still lives."""


class Job(NamedTuple):
    """One sample to draw."""

    pattern: str
    number: int
    defective: bool


class Painter:
    """Draws, encodes and writes samples into the dataset folder ``root``."""

    def __init__(self, params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path) -> None:
        self._generator = SynLCDGenerator(patterns, params)
        self._root = root

    def paint(self, jobs: list[Job]) -> list[Written]:
        """Draw ``jobs`` and return what was written.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        written = []
        for job in jobs:
            sample = self._generator.sample(*job)
            counts = np.bincount(sample.mask.ravel(), minlength=len(CLASSES) + 1)[1:]
            image = write_file(self._root / image_path(sample.sample_id), encode_png(sample.image))
            mask = write_file(self._root / mask_path(sample.sample_id), encode_png(sample.mask))
            written.append(Written(sample.sample_id, tuple(int(n) for n in counts), image, mask))
        return written


def paint_all(
    params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path, jobs: list[Job], workers: int
) -> Iterator[list[Written]]:
    """Draw ``jobs`` in ``workers`` processes (in this one for one) and yield what is finished, in any order.

    Raises:
        SynthesisError: a process was ended from outside.
        OSError: the disk is full or cannot be written.
    """
    length = min(64, max(1, CHUNK_PIXELS // params.size**2))
    chunks = [jobs[i : i + length] for i in range(0, len(jobs), length)]
    if workers == 1 or len(chunks) < 2:
        painter = Painter(params, patterns, root)
        for chunk in chunks:
            yield painter.paint(chunk)
        return
    # Spawned, not forked: a fork copies locks that threads of the caller may hold, and the staging's lock.
    others = set(active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), get_context("spawn"), _start_worker, (params, patterns, root, os.getpid())
    )
    waiting: set[Future[list[Written]]] = set()
    try:
        for chunk in chunks:
            waiting.add(pool.submit(_paint, chunk))
            # Few enough in the queue that Ctrl-C is answered at once.
            if len(waiting) >= 2 * workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
    except BrokenProcessPool as error:
        # A worker started while the pool broke is not ended by it, and the shutdown below would wait for it.
        for worker in set(active_children()) - others:
            worker.terminate()
        raise SynthesisError(
            "a drawing process ended unexpectedly (out of memory?); run again, with fewer workers if it "
            "repeats; finished samples are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_painter: Painter | None = None
"""The painter of a worker process, set by :func:`_start_worker`."""


def _start_worker(params: SynLCDParams, patterns: dict[str, np.ndarray], root: Path, parent: int) -> None:
    global _painter
    # Ctrl-C reaches the whole group of processes; only the parent answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    _painter = Painter(params, patterns, root)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: after kill -9 it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _paint(jobs: list[Job]) -> list[Written]:
    assert _painter is not None
    return _painter.paint(jobs)
