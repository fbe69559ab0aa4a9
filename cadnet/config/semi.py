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
    """Refuse the integer 1: DVC names files as the number is written, and Python after it is read."""
    if type(value) is int and value == 1:
        raise ValueError("1 becomes part of file names; write it as 1.0")
    return value


Share = Annotated[float, BeforeValidator(_not_whole)]

ROUNDING = 1e-9
"""Of shares in floating point that together are exactly the whole."""


class SemiParams(Params):
    """Networks that have learnt one kind of defect and get few labels of another (paper Table 6).

    Every method is pretrained with all labels of one dataset, and then fine-tuned and tested on another, once
    for each share of labels. Without methods or without seeds the grid is off. Nothing has a default, because
    DVC reads the file itself and knows none.
    """

    pretrain: NameOrNone
    """Dataset the networks learn on first, with all its labels."""
    dataset: NameOrNone
    """Dataset they are fine-tuned and tested on."""
    methods: tuple[Name, ...]
    fractions: tuple[Share, ...]
    """Labelled shares of its training samples, in (0, 1], ascending; 0, no fine-tuning, is always tested."""
    seeds: tuple[Seed, ...]
    labels: str
    """csv of the samples that are labelled from which share on, and of those that are unlabelled;
    `python -m pipelines.labels` draws it."""
    unlabelled: Fraction
    """Share of the training samples that methods see without their labels."""
    epochs: Positive
    """Of fine-tuning."""
    steps: Positive
    """Optimiser steps in an epoch, the same for every method and share."""

    @property
    def trials(self) -> tuple[tuple[str, str, float, int], ...]:
        """The grid's trials as (dataset, method, fraction, seed), in order; fraction 0.0 is first."""
        return tuple(product((self.dataset,), self.methods, (0.0, *self.fractions), self.seeds))

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        fractions = list(self.fractions)
        if not all(0 < share <= 1 for share in fractions):
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
"""The grid of a file that does not have it."""


def check_protocol(semi: SemiParams, datasets: Mapping[str, DatasetParams]) -> None:
    """Check that the two datasets of a grid are two subsets of one: new is the kind of defect alone.

    Args:
        semi: a grid whose datasets are among ``datasets``.
        datasets: all that are defined.

    Raises:
        ValueError: they are not.
    """
    cure = "the protocol needs two subsets of one dataset, such as line and abpt"
    before, after = datasets[semi.pretrain], datasets[semi.dataset]
    for key, params in (("pretrain", before), ("dataset", after)):
        if not isinstance(params, SynLCDParams):
            name = getattr(semi, key)
            raise ValueError(
                f"semi.{key} names '{name}', a dataset without subsets ({params.preparer}); {cure}"
            )
    assert isinstance(before, SynLCDParams)
    assert isinstance(after, SynLCDParams)
    if before.subset == after.subset:
        raise ValueError(
            f"semi.pretrain '{semi.pretrain}' and semi.dataset '{semi.dataset}' are both the subset "
            f"{after.subset}; {cure}"
        )
    for setting in ("size", "patterns", "split_list"):
        values = getattr(before, setting), getattr(after, setting)
        if values[0] != values[1]:
            raise ValueError(
                f"semi.pretrain '{semi.pretrain}' has {setting} {values[0]} and semi.dataset "
                f"'{semi.dataset}' has {values[1]}; {cure}: make them equal"
            )
