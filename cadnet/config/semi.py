"""Parameters of the grid that learns from few labels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from cadnet.config.base import Fraction, Name, Params, Positive
from cadnet.config.datasets import DatasetParams, Seed, SynLCDParams

NameOrNone = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_.-]*)?$")]
"""A name, or "" where the grid is off."""


def _not_whole(value: Any) -> Any:
    """Refuse the integer 1: DVC names files by the number as written, Python by the number as read."""
    if type(value) is int and value == 1:
        raise ValueError("1 becomes part of file names; write it as 1.0")
    return value


LabelFraction = Annotated[float, BeforeValidator(_not_whole)]

ROUNDING = 1e-9
"""Rounding error of fractions that add up to exactly 1."""


class SemiParams(Params):
    """Networks pretrained on one kind of defect that get few labels of another (paper Table 6).

    Every method is pretrained with all labels of one dataset, and then fine-tuned and tested on another, once
    for each fraction of labels. Without methods or without seeds the grid is off. Nothing has a default,
    because DVC reads the file itself and knows none.
    """

    pretrain: NameOrNone
    """Dataset the networks learn on first, with all its labels."""
    dataset: NameOrNone
    """Dataset they are fine-tuned and tested on."""
    methods: tuple[Name, ...]
    fractions: tuple[LabelFraction, ...]
    """Labelled fractions of its training samples, in (0, 1], ascending; 0 is always tested."""
    seeds: tuple[Seed, ...]
    labels: str
    """csv of the samples with the smallest fraction at which each is labelled, or unlabelled;
    `python -m pipelines.labels` generates it."""
    unlabelled: Fraction
    """Fraction of the training samples that methods see without their labels."""
    epochs: Positive
    """Of fine-tuning."""
    steps: Positive
    """Optimiser steps in an epoch, the same for every method and fraction."""

    @property
    def trials(self) -> tuple[tuple[str, str, float, int], ...]:
        """The grid's trials as (dataset, method, fraction, seed), in order; fraction 0.0 is first."""
        return tuple(product((self.dataset,), self.methods, (0.0, *self.fractions), self.seeds))

    @model_validator(mode="after")
    def _fractions_fit(self) -> Self:
        fractions = list(self.fractions)
        if not all(0 < fraction <= 1 for fraction in fractions):
            raise ValueError(
                f"fractions {fractions} must be above 0 and at most 1; leave 0 out, it is always tested, and "
                "write 5 % as 0.05"
            )
        if fractions != sorted(set(fractions)):
            raise ValueError(f"fractions {fractions} must ascend, each once; sort them, remove repetitions")
        largest = max(fractions, default=0.0)
        if largest + self.unlabelled > 1 + ROUNDING:
            raise ValueError(
                f"labelled {largest:g} and unlabelled {self.unlabelled:g} of the training samples are more "
                "than there are, and no sample may be both; lower one of them"
            )
        return self

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for key, values in (("methods", self.methods), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} {list(values)} names something twice; remove the repetition")
        return self

    @model_validator(mode="after")
    def _complete_where_on(self) -> Self:
        for key in ("pretrain", "dataset", "fractions", "labels"):
            if self.trials and not getattr(self, key):
                raise ValueError(f"{key} is empty, which methods {list(self.methods)} need; fill it in")
        if self.pretrain and self.pretrain == self.dataset:
            raise ValueError(
                f"pretrain and dataset are both '{self.dataset}'; name a dataset with another kind of defect"
            )
        return self


OFF = SemiParams(
    pretrain="", dataset="", methods=(), fractions=(), seeds=(), labels="", unlabelled=0, epochs=1, steps=1
)
"""The grid where a file leaves it out."""


def check_protocol(semi: SemiParams, datasets: Mapping[str, DatasetParams]) -> None:
    """Check that the two datasets of a grid are two subsets of one: only the kind of defect differs.

    Args:
        semi: a grid whose datasets are among ``datasets``.
        datasets: all that are defined.

    Raises:
        ValueError: they are not.
    """
    hint = "the protocol needs two subsets of one dataset, such as line and abpt"
    before, after = datasets[semi.pretrain], datasets[semi.dataset]
    for key, params in (("pretrain", before), ("dataset", after)):
        if not isinstance(params, SynLCDParams):
            name = getattr(semi, key)
            raise ValueError(
                f"semi.{key} names '{name}', a dataset without subsets ({params.preparer}); {hint}"
            )
    assert isinstance(before, SynLCDParams)
    assert isinstance(after, SynLCDParams)
    if before.subset == after.subset:
        raise ValueError(
            f"semi.pretrain '{semi.pretrain}' and semi.dataset '{semi.dataset}' are both the subset "
            f"{after.subset}; {hint}"
        )
    for setting in ("size", "patterns", "split_list"):
        values = getattr(before, setting), getattr(after, setting)
        if values[0] != values[1]:
            raise ValueError(
                f"semi.pretrain '{semi.pretrain}' has {setting} {values[0]} and semi.dataset "
                f"'{semi.dataset}' has {values[1]}; {hint}: make them equal"
            )
