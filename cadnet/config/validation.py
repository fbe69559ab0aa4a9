"""What a prepared dataset must satisfy before anything trains on it."""

from __future__ import annotations

from typing import Annotated, Self

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
    """Least and largest share of a labelled split's pixels that one class may have."""
    duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 4
    """Bits of 64 by which the perceptual hashes of two equal pictures may differ."""
    duplicate_difference: PositiveFloat = 6.0
    """Grey levels by which two pictures of equal hash may differ anywhere and still count as one."""
    alignment_failures: Fraction = 0.05
    """Largest share of samples that may not have been brought onto their reference."""
    drift: PositiveFloat = 0.25
    """Largest relative change of a profile's figures against the version before."""

    @model_validator(mode="after")
    def _share_ascends(self) -> Self:
        least, largest = self.class_share
        if least > largest:
            raise ValueError(f"class_share {[least, largest]} must ascend; swap the two")
        return self
