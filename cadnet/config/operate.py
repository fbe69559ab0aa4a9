"""Gates: what a dataset must satisfy before training, and a model before it is used."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cadnet.config.base import Fraction, Name, Params, Positive, PositiveFloat


class ValidateParams(Params):
    """Limits of the stage ``validate``."""

    min_samples: dict[Name, Positive] = Field(default={"train": 2, "val": 1, "test": 1})
    """Fewest samples of a split."""
    min_class_images: Annotated[int, Field(ge=0)] = 1
    """Fewest training images of a class that any sample shows. Fewer in val or test, or a class that no
    sample shows, is a warning: labels may be few, and a dataset may show some of its classes only."""
    class_share: tuple[Fraction, Fraction] = (0.0, 0.5)
    """Smallest and largest fraction of a labelled split's pixels that one class may have."""
    duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 4
    """Bits of 64 by which the perceptual hashes of two equal pictures may differ."""
    duplicate_difference: PositiveFloat = 6.0
    """Grey levels by which two pictures of equal hash may differ anywhere and still count as one."""
    alignment_failures: Fraction = 0.05
    """Largest fraction of samples whose alignment may have failed."""
    drift: PositiveFloat = 0.25
    """Largest relative change of a profile's figures against the version before."""

    @model_validator(mode="after")
    def _share_ascends(self) -> Self:
        least, largest = self.class_share
        if least > largest:
            raise ValueError(f"class_share {[least, largest]} must ascend; swap the two")
        return self


GreyLevels = Annotated[float, Field(ge=0, le=255)]


class BehaviourParams(Params):
    """What a model may and must do on pairs that are made from clean references."""

    brightness: GreyLevels = 6.0
    """Grey levels by which the whole image gets brighter or darker (SynLCD's screens: up to 6)."""
    noise: GreyLevels = 4.0
    """Standard deviation of Gaussian noise in grey levels."""
    shift: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Pixels by which the image is moved to each of the four sides; between whole ones it is interpolated."""
    false_fraction: Fraction = 0.002
    """Fraction of its pixels that may be classified as defective; of an identical pair's, none may."""
    planted: Fraction = 0.8
    """Fraction of planted defects that must be found: the acceptance set's most visible ones, each elsewhere
    on a clean reference."""


class GateParams(Params):
    """When a challenger replaces the champion."""

    mode: Literal["better", "not_worse"] = "better"
    """What the 95 % interval of the difference in mIoU must show. A challenger that is the champion's own
    network, with another threshold, minimum area or other references, need never be more than
    ``not_worse``."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """``better``: by how much the low end of the interval must exceed 0, in 0-1."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """``not_worse``: by how much the low end of the interval may lie below 0, in 0-1."""
    least: Fraction = 0.2
    """Lowest mIoU with which a model may become champion at all."""
    escape: Fraction = 0.1
    """Largest fraction of the defective images that may be judged good, with the product's threshold and
    ``min_pixels``."""
    overkill: Fraction = 0.1
    """Largest fraction of the good images that may be judged defective, likewise."""
    slice_drop: Fraction = 0.05
    """By how much IoU of any slice (all defects as one) may fall behind the champion's."""
    slice_images: Positive = 10
    """Slices of fewer defective images decide nothing."""
    latency_ms: PositiveFloat = 1000.0
    """Longest median time of a pair at the size of training, on the machine that gates."""
    export_difference: PositiveFloat = 1e-4
    """Largest difference of the exported network's output, as a fraction of its largest."""
    behaviour: BehaviourParams = BehaviourParams()


class ProductParams(Params):
    """A product whose best network is registered, and when that replaces the one in use."""

    dataset: Name
    """What its networks are trained on; its references are the product's, its classes and sizes too."""
    acceptance: Name
    """Prepared dataset that the gate scores on; nothing is trained on it."""
    split: Literal["train", "val", "test"] = "val"
    """Split of it that is scored. What SynLCD calls val is drawn from a pattern that no training has seen."""
    metric: str = "val_miou"
    """Validation metric, at the epoch that was kept, by which the best of the main grid is chosen."""
    methods: tuple[Name, ...] = ()
    """Methods of the main grid that may be chosen; none stands for all."""
    references: str | None = None
    """Folder of clean images; null takes those of the dataset."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability above which a pixel is a defect; null is chosen on validation images."""
    min_pixels: Positive = 20
    """Defect pixels from which on an image is judged defective."""
    gate: GateParams = GateParams()

    @model_validator(mode="after")
    def _frozen_apart(self) -> Self:
        if self.dataset == self.acceptance:
            raise ValueError(
                f"acceptance is '{self.dataset}', which the product is trained on; give a dataset of its own"
            )
        return self
