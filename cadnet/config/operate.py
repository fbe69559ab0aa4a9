"""Parameters of the gate between a new model and the one a line relies on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cadnet.config.base import Fraction, Params, Positive, PositiveFloat

GreyLevels = Annotated[float, Field(ge=0, le=255)]


class BehaviourParams(Params):
    """What a model may do on pairs that differ by less than a defect, all made from clean references."""

    brightness: GreyLevels = 6.0
    """Grey levels by which the whole image gets brighter or darker (SynLCD's screens: up to 6)."""
    noise: GreyLevels = 4.0
    """Standard deviation of Gaussian noise in grey levels."""
    shift: Annotated[int, Field(ge=0, le=8)] = 1
    """Pixels by which the image is moved to each of the four sides."""
    false_share: Fraction = 0.002
    """Share of such an image's pixels that may be called defective; of an identical pair's, none may."""


class GateParams(Params):
    """When a challenger replaces the champion."""

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """By how much the low end of the 95 % interval of the difference in mIoU must exceed 0, in 0-1."""
    least: Fraction = 0.0
    """Lowest mIoU with which a model may become champion at all."""
    slice_drop: Fraction = 0.05
    """By how much IoU of any slice (all defects as one) may fall behind the champion's."""
    slice_images: Positive = 10
    """Slices of fewer defective images decide nothing."""
    latency_ms: PositiveFloat = 1000.0
    """Longest median time of a pair at the size of training, on the machine that gates."""
    export_difference: PositiveFloat = 1e-4
    """Largest difference of the exported network's output, as a share of its largest."""
    behaviour: BehaviourParams = BehaviourParams()
