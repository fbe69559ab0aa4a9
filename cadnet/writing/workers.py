"""Rendering many units in several processes."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path

import cv2

from cadnet.writing.units import Failed, Finished, Output, PreparationError, Renderer, Unit

PARENT_SECONDS = 0.5
"""How often a worker looks whether its parent still lives."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def render_all(
    renderer: Renderer, root: Path, units: Sequence[Unit], workers: int, chunk: int
) -> Iterator[list[Finished | Failed]]:
    """Render ``units`` in ``workers`` processes (in this one for one) and yield what is done, in any order.

    Raises:
        PreparationError: a process was ended from outside.
        OSError: the disk is full.
    """
    chunks = [units[i : i + chunk] for i in range(0, len(units), chunk)]
    if workers == 1 or len(chunks) < 2:
        yield from (_render(renderer, root, part) for part in chunks)
        return
    # Spawned, not forked: a fork copies locks that threads of the caller may hold, and the staging's lock.
    others = set(active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), get_context("spawn"), _start_worker, (renderer, root, os.getpid())
    )
    waiting: set[Future[list[Finished | Failed]]] = set()
    try:
        for part in chunks:
            waiting.add(_submit(pool, part))
            # Few enough in the queue that Ctrl-C is answered at once.
            if len(waiting) >= 2 * workers:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ready)
    except BrokenProcessPool as error:
        # A worker started while the pool broke is not ended by it, and the shutdown below would wait for it.
        for child in set(active_children()) - others:
            child.terminate()
        raise PreparationError(
            "a worker process ended unexpectedly (out of memory?); run again, with fewer workers if it "
            "repeats; finished samples are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, units: Sequence[Unit]) -> Future[list[Finished | Failed]]:
    """Submit work with SIGINT blocked, which a worker that is started by it inherits.

    Ctrl-C reaches the whole group of processes, and only the parent answers it: a worker that died of it
    while it started would break the pool, whose shutdown then waits for the others for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_work, units)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _render(renderer: Renderer, root: Path, units: Sequence[Unit]) -> list[Finished | Failed]:
    """Render ``units`` into the folder ``root``; unusable raw material is reported, a full disk is raised."""
    done: list[Finished | Failed] = []
    for unit in units:
        output = Output(root, unit.unit_id)
        try:
            renderer.render(unit, output)
            done.append(output.finished)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            done.append(Failed(unit.unit_id, tuple(str(error).splitlines())))
    return done


_job: tuple[Renderer, Path] | None = None
"""Renderer and folder of a worker process, set by :func:`_start_worker`."""


def _start_worker(renderer: Renderer, root: Path, parent: int) -> None:
    global _job
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    _job = renderer, root


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: after kill -9 it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _work(units: Sequence[Unit]) -> list[Finished | Failed]:
    assert _job is not None
    return _render(*_job, units)
