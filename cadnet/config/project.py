"""A whole ``params.yaml``."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cadnet.config.base import Name, Params
from cadnet.config.datasets import DatasetParams
from cadnet.config.training import EvaluateParams, MethodParams, TrainParams
from cadnet.config.validation import ValidateParams


class RunParams(Params):
    """Which cells of the grid run."""

    scale: str
    """Shown in every title, for example 'small scale: 128 px, 10 epochs'."""
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for key in ("datasets", "methods", "seeds"):
            values: tuple[Any, ...] = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} {list(values)} names something twice; remove the repetition")
        return self


class ProjectParams(Params):
    """A whole ``params.yaml``."""

    run: RunParams
    datasets: dict[Name, DatasetParams]
    methods: dict[Name, MethodParams]
    train: TrainParams
    evaluate: EvaluateParams = EvaluateParams()
    validation: ValidateParams = Field(default=ValidateParams(), alias="validate")

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        for what, names, known in (
            ("run.datasets", self.run.datasets, self.datasets),
            ("run.methods", self.run.methods, self.methods),
            ("methods.*.recipe", [m.recipe for m in self.methods.values()], self.train.recipes),
        ):
            missing = sorted(set(names) - set(known))
            if missing:
                raise ValueError(f"{what} names {missing}, which is not defined; defined: {sorted(known)}")
        return self
