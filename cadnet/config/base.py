"""What all parameter groups share: strictness, names, ranges."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
"""Names become stage names, folders and MLflow names."""


class ConfigError(ValueError):
    """A parameter file is wrong; the message names the file, the key, the value and what is allowed."""


class Params(BaseModel):
    """Base of all parameter groups: immutable, no unknown keys, no silent conversion, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Range(Params):
    """An inclusive arithmetic range ``low, low + step, ..., high``."""

    low: float
    high: float
    step: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}; swap them")
        return self

    @property
    def count(self) -> int:
        """Number of values."""
        return int((self.high - self.low) / self.step + 1e-9) + 1

    def value(self, index: int) -> float:
        """Return the ``index``-th value, 0 <= index < count."""
        return self.low + index * self.step


def within(lowest: float, highest: float) -> AfterValidator:
    """Refuse a range that leaves [lowest, highest]."""

    def check(value: Range) -> Range:
        if value.low < lowest or value.high > highest:
            raise ValueError(f"low and high must lie between {lowest:g} and {highest:g}")
        return value

    return AfterValidator(check)
