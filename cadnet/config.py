"""Typed parameters: what ``params.yaml`` may say. An unknown key or a value of the wrong type is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
"""Names become stage names, folders and MLflow names."""


class ConfigError(ValueError):
    """A parameter file is wrong; the message names the file, the key, the value and what is allowed."""


class Params(BaseModel):
    """Base of all parameter groups: immutable, no unknown keys, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


class LineParams(Params):
    """Line defects (paper Table 1). Widths are pixels on a 512 px screen and scale with the size."""

    areas: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2, 3, 4)
    width: Range = Range(low=3, high=33, step=3)
    opacity: Range = Range(low=0.1, high=1.0, step=0.1)


class AbptParams(Params):
    """Abnormal points (paper Table 1): clusters of edge points of a thresholded clean screen."""

    grey_threshold: Range = Range(low=50, high=200, step=10)
    clusters: Range = Range(low=8, high=24, step=1)
    """K of K-means over the edge points."""
    defects: Range = Range(low=1, high=6, step=1)
    """How many of the clusters become defects."""
    points: Range = Range(low=1, high=12, step=1)
    """Dots of one defect, taken from its cluster."""
    diameter: PositiveFloat = 8.0
    """Pixels of a dot at scale 1 on a 512 px screen."""
    scale: Range = Range(low=0.5, high=2.0, step=0.25)
    opacity: Range = Range(low=0.1, high=1.0, step=0.1)


class ScreenParams(Params):
    """The screen's overall change sigma of Eq. 1 (paper Table 1)."""

    brightness: Range = Range(low=1, high=6, step=1)
    contrast: Range = Range(low=0.5, high=1.5, step=0.1)
    iso_noise: Range = Range(low=0.1, high=1.0, step=0.1)
    rgb_deviation: Range = Range(low=3, high=33, step=3)
    noise_sigma: PositiveFloat = 20.0
    """Standard deviation in grey levels of ISO noise at 100 %."""
    probability: Fraction = 0.5
    """Chance of each of the four effects on one sample."""


class SynLCDParams(Params):
    """The synthetic LCD dataset: which part of it, how large, how hard."""

    preparer: Literal["synlcd"] = "synlcd"
    subset: Literal["line", "abpt", "mixed"] = "mixed"
    size: Annotated[int, Field(ge=32, le=4096)] = 512
    defective_per_pattern: Annotated[int, Field(ge=0)] = 300
    clean_per_pattern: Annotated[int, Field(ge=0)] = 300
    patterns: str = "data/synlcd/patterns"
    split_list: str = "splits/synlcd.csv"
    seed: Annotated[int, Field(ge=0)] = 0
    blur: PositiveFloat = 0.8
    """Gaussian blur of defect edges: standard deviation in pixels on a 512 px screen."""
    min_change: Annotated[int, Field(ge=1, le=64)] = 3
    """Grey levels by which a pixel must differ from the clean screen to be a defect (before screen
    effects)."""
    line: LineParams = LineParams()
    abpt: AbptParams = AbptParams()
    screen: ScreenParams = ScreenParams()


class MethodParams(Params):
    """One row of a results table: a network, its options and its losses."""

    title: str
    model: str
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    recipe: Name
    loss: Literal["ce", "ce+cl", "ce+bcl"] = "ce"
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.0
    """lambda_2 of Eq. 16, on a pixel mean."""


class Recipe(Params):
    """How a family of networks is optimised."""

    optimizer: Literal["adamw", "sgd"]
    lr: PositiveFloat
    """At ``reference_batch``; scaled linearly with the total batch."""
    reference_batch: Positive = 8
    weight_decay: Annotated[float, Field(ge=0)]
    momentum: Fraction = 0.9
    head_lr_multiplier: PositiveFloat = 1.0
    schedule: Literal["poly", "onecycle", "constant"]
    poly_power: PositiveFloat = 1.0
    warmup_fraction: Fraction = 0.0


class TrainParams(Params):
    """What all methods share, so that none is favoured."""

    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    """Pairs per optimiser step over all devices (batch norm needs two)."""
    crop: Annotated[int, Field(ge=32, multiple_of=32)]
    flip: Fraction = 0.5
    photometric: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of brightness, contrast and colour changes drawn independently for image and reference."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    validate_every: Positive = 1
    devices: Literal["auto"] | Positive = "auto"
    encoder_weights: str | None = None
    recipes: dict[Name, Recipe]


class EvaluateParams(Params):
    """How a trained network is scored."""

    batch_size: Positive = 16
    thresholds: Annotated[int, Field(ge=2)] = 100
    """Bins of the precision-recall and F-threshold curves."""
    defect_sizes: tuple[float, ...] = (0.001, 0.01)
    """Upper edges of the size slices, as shares of the image."""
    overlays: Positive = 8


class RunParams(Params):
    """Which cells of the grid run."""

    scale: str
    """Shown in every title, for example 'small scale: 128 px, 10 epochs'."""
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]


class ProjectParams(Params):
    """A whole ``params.yaml``."""

    run: RunParams
    datasets: dict[Name, SynLCDParams]
    methods: dict[Name, MethodParams]
    train: TrainParams
    evaluate: EvaluateParams = EvaluateParams()

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


def load_params(path: Path | str = "params.yaml") -> ProjectParams:
    """Read and check a parameter file.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: unknown key, wrong type or value out of range; all of them are listed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"parameter file {path} does not exist; run from the project's folder")
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    try:
        # Through JSON because strict mode takes a list for a tuple only there.
        return ProjectParams.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error


def _explain(item: object) -> str:
    """One pydantic error as 'key: what is wrong (got value)'."""
    assert isinstance(item, dict)
    key = ".".join(str(part) for part in item["loc"]) or "file"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; check its spelling or remove it"
    return f"{key}: {item['msg']} (got {item.get('input')!r})" if key != "file" else str(item["msg"])
