"""The contracts that pass between the parts of the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    # Only names in annotations: drawing and reading images must not pay for importing torch.
    import numpy as np
    import torch
    from torch import Tensor

IGNORE_INDEX = 255
"""Mask value of pixels that neither train nor score."""

BACKGROUND = 0
"""Mask value of defect-free pixels; defect classes are 1..K."""


SPLITS = ("train", "val", "test")
"""Splits with masks: trained on, chosen by, scored."""

UNLABELLED = "unlabelled"
"""Split of the samples that have no mask."""

MANIFEST_COLUMNS = (
    "sample_id", "image", "reference", "mask", "split", "subset", "group", "has_defect", "width", "height",
)  # fmt: skip
"""Columns of every prepared dataset's manifest; ``n_<class>`` pixel counts follow, then any others."""


class PairSample(NamedTuple):
    """One inspected image beside its reference, as read from disk.

    ``image`` and ``reference`` are uint8 RGB arrays (H, W, 3); ``mask`` is a uint8 array (H, W) holding
    0 for background, 1..K for defect classes and 255 for ignored pixels.
    """

    sample_id: str
    image: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    group: str


@dataclass(frozen=True)
class PairBatch:
    """A batch ready for a network.

    ``image`` and ``reference``: float32 (B, 3, H, W), ImageNet-normalised RGB; ``mask``: int64 (B, H, W) in
    {0..K, 255}; ``index``: int64 (B,), rows of the split's manifest.
    """

    image: Tensor
    reference: Tensor
    mask: Tensor
    index: Tensor

    def to(self, device: torch.device | str) -> PairBatch:
        """Return the batch on ``device`` (no copy when it is there already)."""
        tensors = (self.image, self.reference, self.mask, self.index)
        return PairBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


class Auxiliary(NamedTuple):
    """Logits that only train: (B, K+1, h, w) of any size, and the weight of their cross-entropy."""

    logits: Tensor
    weight: float


class SegOutput(NamedTuple):
    """What every network returns.

    ``logits``: (B, K+1, H, W) at the input's size; ``distance``: (B, 1, h, w) non-negative feature distance
    (paper Eq. 7), or None for networks that look at one image only; ``auxiliary``: further logits, given in
    training mode only.
    """

    logits: Tensor
    distance: Tensor | None = None
    auxiliary: tuple[Auxiliary, ...] = ()
