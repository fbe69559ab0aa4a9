"""Splits that live on the compute device and hand out ready batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cadnet.datasets.augment import (
    MEAN,
    STD,
    Augmentation,
    Geometry,
    gather,
    normalise,
    resample,
    transposed,
)
from cadnet.datasets.cache import DecodedSplit
from cadnet.types import IGNORE_INDEX, PairBatch


class DevicePairs:
    """A decoded split as uint8 tensors on ``device``.

    On the CPU the tensors share the memory-mapped cache; on a GPU they are copied once, which needs about
    7 bytes per pixel and pair less the shared references.
    """

    def __init__(self, split: DecodedSplit, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.images = _tensor(split.images, self.device)
        self.masks = _tensor(split.masks, self.device)
        self.references = _tensor(split.references, self.device)
        self.reference_index = _tensor(split.reference_index, self.device)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every image in pixels."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    def plain(self, index: Tensor) -> PairBatch:
        """Return the whole, unaugmented pairs of int64 ``index`` (B,).

        On the CPU a reference that serves the whole batch is stored once (stride 0): write into no reference.
        """
        index = index.to(self.device)
        image = _normalised(self.images, index)
        reference = _normalised(self.references, self.reference_index[index])
        return PairBatch(image, reference, self.masks[index].long(), index)

    def augmented(
        self, index: Tensor, geometry: Geometry, augmentation: Augmentation, generator: torch.Generator
    ) -> PairBatch:
        """Return augmented pairs of ``index`` (B,), which like ``geometry`` is on the split's device."""
        crop, rows = augmentation.crop, self.reference_index[index]
        if augmentation.resizes:
            # What lies beyond an image is of the mean colour and is not scored.
            image = resample(normalise(self.images[index]), geometry, crop)
            reference = resample(normalise(self.references[rows]), geometry, crop)
            labels = self.masks[index].float()[:, None]
            mask = resample(labels, geometry, crop, fill=IGNORE_INDEX, smooth=False)[:, 0].long()
        else:
            image = normalise(gather(self.images, index, geometry, crop))
            reference = normalise(gather(self.references, rows, geometry, crop))
            mask = gather(self.masks, index, geometry, crop).long()
        if augmentation.turn:
            image, reference, mask = (transposed(one, geometry) for one in (image, reference, mask))
        image = augmentation.distort(image, generator)
        reference = augmentation.distort(reference, generator)
        return PairBatch(image, reference, mask, index)


def _normalised(source: Tensor, rows: Tensor) -> Tensor:
    """Return ``normalise(source[rows])``, float32 (B, 3, H, W), of uint8 ``source`` (N, 3, H, W)."""
    if source.device.type != "cpu":
        return normalise(source[rows])
    wanted = rows.tolist()
    if len(wanted) > 1 and len(set(wanted)) == 1:
        return _normalised(source, rows[:1]).expand(len(wanted), -1, -1, -1)
    # Image by image in its final position: an intermediate of a batch's size costs more than the arithmetic.
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    result = torch.empty((len(wanted), *source.shape[1:]))
    positions: dict[int, int] = {}
    for position, row in enumerate(wanted):
        first = positions.setdefault(row, position)
        if first < position:
            result[position] = result[first]
        else:
            torch.sub(source[row], mean, out=result[position]).div_(std)
    return result


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    # A copy-on-write map keeps the cache file unchanged whatever is done to the tensor.
    if isinstance(array, np.memmap) and array.filename is not None:
        array = np.load(array.filename, mmap_mode="c")
    return torch.from_numpy(array).to(device)


class TrainBatches:
    """Shuffled, augmented batches; epoch ``e`` is a pure function of (seed, e), so a resumed run repeats it.

    Each global batch is cut evenly over ``world_size`` ranks; the incomplete last batch is dropped.

    Args:
        pairs: the split.
        augmentation: drawn anew for every sample and pass.
        batch_size: pairs per step over all ranks.
        seed: see above.
        rank: of this process.
        world_size: number of processes.
        rows: int64, the rows of the split to draw from; None takes all.
        steps: batches in an epoch, over as many passes, each shuffled anew, as that takes; 0 is one pass.

    Raises:
        ValueError: fewer samples than one batch, or a batch that cannot be cut evenly.
    """

    def __init__(
        self,
        pairs: DevicePairs,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        rows: Tensor | None = None,
        steps: int = 0,
    ) -> None:
        self.rows = torch.arange(len(pairs)) if rows is None else rows
        if len(self.rows) < batch_size:
            what = "the train split" if rows is None else "one stream of the train split"
            raise ValueError(
                f"{what} has {len(self.rows)} samples, fewer than train.batch_size {batch_size}; lower it"
                f"{'' if rows is None else ' or raise semi.fractions or semi.unlabelled'}"
            )
        if batch_size % world_size:
            raise ValueError(f"train.batch_size {batch_size} cannot be shared by {world_size} devices")
        self.pairs, self.augmentation = pairs, augmentation
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.steps = steps or len(self.rows) // batch_size
        self.epoch = 0

    @property
    def sampler(self) -> TrainBatches:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[PairBatch]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        count = self.steps * self.batch_size
        passes = -(-count // len(self.rows))
        drawn = [self.rows[torch.randperm(len(self.rows), generator=generator)] for _ in range(passes)]
        order = torch.cat(drawn)[:count]
        geometry = self.augmentation.draw(count, *self.pairs.size, generator)
        # One copy an epoch instead of seven a step keeps the device free of host waits.
        plan = torch.stack([order, *geometry]).to(self.pairs.device)  # (7, count)
        part = self.batch_size // self.world_size
        for start in range(self.rank * part, count, self.batch_size):
            index, *placed = plan[:, start : start + part]
            photometry = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 1_009 + start)
            yield self.pairs.augmented(index, Geometry(*placed), self.augmentation, photometry)


class EvalBatches:
    """Whole pairs in manifest order, the rows shared by the ranks without repetition."""

    def __init__(self, pairs: DevicePairs, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.pairs, self.batch_size = pairs, batch_size
        self.rows = torch.arange(rank, len(pairs), world_size)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        for start in range(0, len(self.rows), self.batch_size):
            yield self.pairs.plain(self.rows[start : start + self.batch_size])
