"""Streaming per-image, per-class pixel counts, kept on the device until asked for.

Everything this package reports is a reduction of :class:`Counts`, so that pooled numbers, per-image means and
slices count the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cadnet.types import IGNORE_INDEX

_BLOCK = 2**20
"""Scores that are counted at once on the CPU."""


LOG_ODDS = 16.0
"""Scores are binned in equal steps of their log-odds between minus and plus this, where float32 ends.
Networks are sure of most pixels: in equal steps of probability most would be in the first or the last bin."""


def score_thresholds(bins: int) -> np.ndarray:
    """The lower edges of ``bins`` score bins as probabilities, ascending from 0."""
    odds = (2 * np.arange(bins) / bins - 1) * LOG_ODDS
    return np.where(np.arange(bins) == 0, 0.0, 1 / (1 + np.exp(-odds)))


def _score_bins(probability: Tensor, bins: int) -> Tensor:
    """The bin of each probability, int32."""
    place = probability.logit().mul_(bins / (2 * LOG_ODDS)).add_(bins / 2)
    # A diverged network's NaN is found in `compute`; here it must only be some bin.
    return place.clamp_(0, bins - 1).nan_to_num_(0).to(torch.int32)


class CountError(ValueError):
    """The pixels that were counted cannot be scored; the message names the cause and the fix."""


@dataclass(frozen=True)
class Counts:
    """Pixel counts over N images and K defect classes; all arrays are int64.

    ``index`` (N,): rows of the split's manifest, ascending and unique. ``confusion`` (N, K+1, K+1): pixels by
    [image, truth, prediction], class 0 being background, ignored pixels left out. ``histograms``
    (K, 2, bins): over all images, for class k+1, pixels of another class [k, 0] and of that class [k, 1] by
    the bin of their probability (:func:`score_thresholds`); bins may be 0.
    """

    index: np.ndarray
    confusion: np.ndarray
    histograms: np.ndarray

    def __post_init__(self) -> None:
        images, side = self.index.shape[0], self.confusion.shape[-1]
        if self.confusion.shape != (images, side, side) or self.histograms.shape[:2] != (side - 1, 2):
            raise CountError(
                f"counts do not fit together: index {self.index.shape}, confusion {self.confusion.shape}, "
                f"histograms {self.histograms.shape}"
            )
        rows, times = np.unique(self.index, return_counts=True)
        if (times > 1).any():
            raise CountError(
                f"{int((times > 1).sum())} images were scored more than once (first: row "
                f"{rows[times > 1][0]}); give padding samples index -1, or shard without padding"
            )
        order = np.argsort(self.index)
        object.__setattr__(self, "index", self.index[order])
        object.__setattr__(self, "confusion", self.confusion[order])

    @property
    def num_classes(self) -> int:
        """Number of defect classes K."""
        return self.confusion.shape[1] - 1

    @property
    def num_images(self) -> int:
        """Number of images N."""
        return int(self.index.shape[0])

    @property
    def pooled(self) -> np.ndarray:
        """Confusion matrix of all images together, int64 (K+1, K+1) by [truth, prediction]."""
        return self.confusion.sum(axis=0)

    def subset(self, rows: np.ndarray) -> Counts:
        """Return the counts of the images whose ``index`` is in ``rows``, without histograms (bins 0)."""
        keep = np.isin(self.index, rows)
        empty = np.zeros((self.num_classes, 2, 0), np.int64)
        return Counts(self.index[keep], self.confusion[keep], empty)


class CountAccumulator:
    """Counts batches on the device; nothing is copied to the host before :meth:`compute`.

    ``bins`` is the number of score bins of the precision-recall and F-threshold curves; 0 skips the
    softmax and the histograms (for the validation after each epoch).
    """

    def __init__(self, num_classes: int, device: torch.device | str, bins: int = 100) -> None:
        if num_classes < 1 or bins < 0:
            raise ValueError(f"num_classes must be at least 1 and bins at least 0, got {num_classes}, {bins}")
        self.num_classes = num_classes
        self.bins = bins
        self.device = torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Reset the counts."""
        self._index: list[Tensor] = []
        self._confusion: list[Tensor] = []
        shape = (self.num_classes, self.num_classes + 3, self.bins)  # by class scored and row of the truth
        self._histograms = torch.zeros(shape, dtype=torch.int64, device=self.device)
        self._wrong_labels = torch.zeros((), dtype=torch.int64, device=self.device)
        self._not_finite = torch.zeros((), dtype=torch.bool, device=self.device)

    @torch.no_grad()
    def update(self, scores: Tensor, mask: Tensor, index: Tensor, *, probabilities: bool = False) -> None:
        """Count one batch.

        Args:
            scores: (B, K+1, H, W) logits of any float type, or probabilities summing to 1 over dim 1.
            mask: int64 (B, H, W) in {0..K, 255}; 255 is not counted.
            index: int64 (B,), rows of the manifest; a negative index marks padding, which is not counted.
            probabilities: ``scores`` has been through softmax already.

        Raises:
            ValueError: shapes or devices do not fit. Wrong values are found in :meth:`compute`.
        """
        self._check(scores, mask, index)
        side = self.num_classes + 1
        confusion = torch.zeros((len(index), side + 2, side), dtype=torch.int64, device=self.device)
        for images, rows in self._blocks(scores):
            truth = self._truth(mask[images, rows], index[images])
            block = scores[images, :, rows].float().contiguous()
            self._not_finite |= ~torch.isfinite(block.sum())
            confusion[images] += _confusion(truth, _first_largest(block), side)
            if self.bins:
                self._update_histograms(block if probabilities else block.softmax(1), truth)
        self._wrong_labels += confusion[:, side + 1].sum()
        self._confusion.append(confusion[:, :side])
        self._index.append(index.clone())

    def _blocks(self, scores: Tensor) -> Iterator[tuple[slice, slice]]:
        """Cut scores (B, K+1, H, W) into slices of images and of rows; one of each but on the CPU."""
        images, channels, height, width = scores.shape
        some_images, some_rows = max(1, images), height
        if self.device.type == "cpu":
            # Intermediate results of a whole batch fit no cache, and memory of that size is allocated again
            # in every step.
            some_images, some_rows = 1, max(1, _BLOCK // (channels * width))
        for image in range(0, images, some_images):
            for row in range(0, height, some_rows):
                yield slice(image, image + some_images), slice(row, row + some_rows)

    def _truth(self, mask: Tensor, index: Tensor) -> Tensor:
        """Return int32 (B, H, W): the class 0..K of each pixel, K+1 if not counted, K+2 if wrong."""
        # Counting all and leaving rows out afterwards needs no selection, whose size would be read back.
        labels = mask.long().clamp(-1, 256).to(torch.int32)
        wrong = (labels < 0) | (labels > self.num_classes)
        left_out = (labels == IGNORE_INDEX) | (index < 0)[:, None, None]
        return labels.masked_fill_(wrong, self.num_classes + 2).masked_fill_(left_out, self.num_classes + 1)

    def _update_histograms(self, probability: Tensor, truth: Tensor) -> None:
        rows, offset = self.num_classes + 3, truth * self.bins
        # One class at a time: an index for all K at once would be the largest tensor of the whole evaluation.
        for k in range(self.num_classes):
            score_bin = _score_bins(probability[:, k + 1], self.bins)
            self._histograms[k] += _bincount(score_bin.add_(offset), rows * self.bins).view(rows, self.bins)

    def _check(self, scores: Tensor, mask: Tensor, index: Tensor) -> None:
        batch, channels, *size = scores.shape
        if channels != self.num_classes + 1 or mask.shape != (batch, *size) or index.shape != (batch,):
            raise ValueError(
                f"expected scores (B, {self.num_classes + 1}, H, W), mask (B, H, W) and index (B,), "
                f"got {tuple(scores.shape)}, {tuple(mask.shape)}, {tuple(index.shape)}"
            )
        devices = {tensor.device.type for tensor in (scores, mask, index)} | {self.device.type}
        if len(devices) > 1:
            raise ValueError(f"the counts and the batch lie on different devices: {sorted(devices)}")

    def compute(self) -> Counts:
        """Copy the counts to the host.

        Raises:
            CountError: a mask held a value that names no class, a network's output was NaN or infinite, or an
                image was counted twice.
        """
        if int(self._wrong_labels):
            raise CountError(
                f"{int(self._wrong_labels)} mask pixels are neither 0..{self.num_classes} nor "
                f"{IGNORE_INDEX}; the dataset has other classes than the network"
            )
        if bool(self._not_finite):
            raise CountError(
                "the network's output holds NaN or infinity; training diverged: lower its learning rate"
            )
        side = self.num_classes + 1
        if not self._confusion:
            index, confusion = np.zeros(0, np.int64), np.zeros((0, side, side), np.int64)
        else:
            index = torch.cat(self._index).cpu().numpy()
            confusion = torch.cat(self._confusion).cpu().numpy()
        keep = index >= 0
        by_truth = self._histograms[:, :side].cpu().numpy()
        own = by_truth[np.arange(self.num_classes), np.arange(1, side)]
        return Counts(index[keep], confusion[keep], np.stack([by_truth.sum(1) - own, own], axis=1))


def _confusion(truth: Tensor, prediction: Tensor, side: int) -> Tensor:
    """Return int64 (B, side + 2, side): pixels by truth and prediction, both int32 (B, H, W)."""
    images = len(truth)
    image = torch.arange(images, device=truth.device, dtype=torch.int32)[:, None, None]
    cells = (image * (side + 2) + truth) * side + prediction
    return _bincount(cells, images * (side + 2) * side).view(images, side + 2, side)


def _first_largest(scores: Tensor) -> Tensor:
    """Return int32 (B, H, W): the channel of the largest score, of equal ones the first."""
    if scores.is_cuda:
        return scores.max(dim=1).indices.to(torch.int32)
    # Channel by channel and in floats, which the processor does on many pixels at once; max and argmax go
    # pixel by pixel.
    largest = scores[:, 0].clone()
    channel, higher = torch.zeros_like(largest), torch.empty_like(largest)
    for k in range(1, scores.shape[1]):
        torch.gt(scores[:, k], largest, out=higher)
        torch.maximum(channel, higher.mul_(k), out=channel)
        torch.maximum(largest, scores[:, k], out=largest)
    return channel.to(torch.int32)


def _bincount(cells: Tensor, size: int) -> Tensor:
    """Return int64 (size,): how often each of 0..size-1 occurs in ``cells`` (int32, in that range)."""
    cells = cells.flatten()
    if cells.is_cuda and not torch.are_deterministic_algorithms_enabled():
        # torch.bincount reads the largest value back on CUDA; histc with fixed limits does not. Integer
        # sums come out the same in any order, but the deterministic mode refuses histc whatever its input.
        return torch.histc(cells, bins=size, min=0, max=size).to(torch.int64)
    return torch.bincount(cells, minlength=size)
