"""Parameters of the synthetic LCD dataset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cadnet.config.base import Fraction, Params, Positive, PositiveFloat, Range, within

Opacity = Annotated[Range, within(0.001, 1)]
GreyLevels = Annotated[Range, within(0, 255)]
Count = Annotated[Range, within(1, 1000)]


class LineParams(Params):
    """Line defects (paper Table 1). Widths are pixels on a 512 px screen and scale with the size."""

    areas: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 3, 4)
    width: Annotated[Range, within(1, 512)] = Range(low=3, high=33, step=3)
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
    scale: Annotated[Range, within(0.01, 100)] = Range(low=0.5, high=2.0, step=0.25)
    opacity: Opacity = Range(low=0.1, high=1.0, step=0.1)


class ScreenParams(Params):
    """The screen's overall change sigma of Eq. 1 (paper Table 1)."""

    brightness: Annotated[Range, within(-255, 255)] = Range(low=1, high=6, step=1)
    contrast: Annotated[Range, within(0, 10)] = Range(low=0.5, high=1.5, step=0.1)
    iso_noise: Annotated[Range, within(0, 10)] = Range(low=0.1, high=1.0, step=0.1)
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
