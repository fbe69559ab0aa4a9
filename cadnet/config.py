"""Typed parameters: what ``params.yaml`` may say. An unknown key or a value of the wrong type is an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

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


def _within(lowest: float, highest: float) -> AfterValidator:
    """Refuse a range that leaves [lowest, highest]."""

    def check(value: Range) -> Range:
        if value.low < lowest or value.high > highest:
            raise ValueError(f"low and high must lie between {lowest:g} and {highest:g}")
        return value

    return AfterValidator(check)


Opacity = Annotated[Range, _within(0.001, 1)]
GreyLevels = Annotated[Range, _within(0, 255)]
Count = Annotated[Range, _within(1, 1000)]


class LineParams(Params):
    """Line defects (paper Table 1). Widths are pixels on a 512 px screen and scale with the size."""

    areas: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    width: Annotated[Range, _within(1, 512)] = Range(low=3, high=33, step=3)
    opacity: Opacity = Range(low=0.1, high=1.0, step=0.1)


class AbptParams(Params):
    """Abnormal points (paper Table 1): clusters of edge points of a thresholded clean screen."""

    grey_threshold: GreyLevels = Range(low=50, high=200, step=10)
    clusters: Count = Range(low=8, high=24, step=1)
    """K of K-means over the edge points."""
    defects: Count = Range(low=1, high=6, step=1)
    """How many of the clusters become defects."""
    points: Count = Range(low=1, high=12, step=1)
    """Dots of one defect, taken from its cluster."""
    diameter: PositiveFloat = 8.0
    """Pixels of a dot at scale 1 on a 512 px screen."""
    scale: Annotated[Range, _within(0.01, 100)] = Range(low=0.5, high=2.0, step=0.25)
    opacity: Opacity = Range(low=0.1, high=1.0, step=0.1)


class ScreenParams(Params):
    """The screen's overall change sigma of Eq. 1 (paper Table 1)."""

    brightness: Annotated[Range, _within(-255, 255)] = Range(low=1, high=6, step=1)
    contrast: Annotated[Range, _within(0, 10)] = Range(low=0.5, high=1.5, step=0.1)
    iso_noise: Annotated[Range, _within(0, 10)] = Range(low=0.1, high=1.0, step=0.1)
    rgb_deviation: GreyLevels = Range(low=3, high=33, step=3)
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
    defect_sizes: tuple[Fraction, ...] = (0.001, 0.01)
    """Upper edges of the size slices, as shares of the image."""
    overlays: Positive = 8

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        if list(self.defect_sizes) != sorted(set(self.defect_sizes)):
            raise ValueError(f"defect_sizes {list(self.defect_sizes)} must ascend; sort them")
        return self


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
        text = path.read_text("utf-8")
        repeated = sorted(_repeated_keys(yaml.compose(text, yaml.SafeLoader)))
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if repeated:
        # YAML readers take the last of two equal keys without a word.
        raise ConfigError(f"{path}: given twice: {', '.join(repeated)}; keep one of each")
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} is empty or holds no sections; restore it with `make profile PROFILE=default`"
        )
    try:
        # Through JSON because strict mode takes a list for a tuple only there; str for YAML's dates.
        return ProjectParams.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error


def _repeated_keys(node: yaml.Node | None, path: str = "") -> Iterator[str]:
    """Dotted keys that occur twice in one mapping."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, path)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = f"{path}{key.value}"
            if name in seen:
                yield name
            seen.add(name)
            yield from _repeated_keys(value, f"{name}.")


def _explain(item: Any) -> str:
    """One pydantic error as 'key: what is wrong (got value)'."""
    key = ".".join(str(part) for part in item["loc"])
    prefix = f"{key}: " if key else ""
    kind, value, message = item["type"], item.get("input"), item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"{prefix}unknown key; check its spelling or remove it"
    if kind == "missing":
        return f"{prefix}missing; add it"
    if kind == "value_error":
        return f"{prefix}{message}"
    if kind in ("float_type", "int_type") and isinstance(value, str) and value[:1] in "+-.0123456789":
        # YAML 1.1 takes 1e-3 for text.
        message += "; write it without quotes, and 1e-3 as 0.001"
    return f"{prefix}{message} (got {value!r})"
