"""Trainings in processes of their own, forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from safetensors.torch import load_file

from cadnet.training.fit import FitResult, fit
from cadnet.training.job import Job

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.integration.children", "tests.integration.train_fake", "tests.integration.semi_fake"]
)


class Child:
    """A process that trains a job; ``rows`` receives each epoch's number, and how many were resumed last."""

    def __init__(self, make: Callable[..., Job], arguments: tuple[object, ...], work: Path) -> None:
        self.rows, ours = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=_train, args=(make, arguments, work, ours))
        self.process.start()
        ours.close()

    def finish(self) -> tuple[int, list[int]]:
        """Wait for the end; returns how many epochs were resumed and which were trained."""
        epochs: list[int] = []
        while True:
            assert self.rows.poll(240), "no epoch for four minutes"
            kind, value = self.rows.recv()
            if kind == "resumed":
                self.process.join()
                assert self.process.exitcode == 0
                return value, epochs
            epochs.append(value)

    def kill(self) -> None:
        """Kill -9, and wait until the process is gone."""
        self.process.kill()
        self.process.join()


def _train(make: Callable[..., Job], arguments: tuple[object, ...], work: Path, rows: Connection) -> None:
    torch.set_num_threads(1)
    result: FitResult = fit(
        make(*arguments), work, work.parent / "cache", on_epoch=lambda row: rows.send(("epoch", row["epoch"]))
    )
    rows.send(("resumed", result.resumed_epochs))


def assert_same_tensors(one: Path, other: Path, *names: str) -> None:
    """The files ``names`` of two folders hold the same tensors, bit by bit."""
    for name in names:
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys(), name
        assert all(torch.equal(value, right[key]) for key, value in left.items()), name
