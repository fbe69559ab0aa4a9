"""A network on its device: tiles in, probabilities out, encoded references kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cadnet.datasets.augment import normalise
from cadnet.images.tiles import Position
from cadnet.inference.caching import ByteCache
from cadnet.inference.prediction import PredictionError
from cadnet.types import SegOutput

Features = tuple[Tensor, ...]


class ReferenceTile(NamedTuple):
    """A tile of a reference: ``key`` names the whole reference, ``pixels`` are uint8 (h, w, 3)."""

    key: str
    position: Position
    pixels: np.ndarray


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; "auto" is a GPU if available, else the CPU.

    Raises:
        ValueError: no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Others, such as "meta", exist but compute nothing.
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("networks are not run there")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); give auto, cpu or cuda") from error
    return device


class PairNetwork:
    """Runs a network over batches of tiles.

    A network with ``encode`` compares the image with a reference; its encoded references are kept within
    ``cache_bytes`` on the device, or encoded again with every image for 0. Others take only the image.

    Args:
        network: ``forward(image, reference) -> SegOutput``; put on ``device`` and in eval mode.
        classes: defect classes K.
        device: where to run.
        cache_bytes: see above.
    """

    def __init__(self, network: nn.Module, classes: int, device: torch.device, cache_bytes: int) -> None:
        self.network = network.to(device).eval()
        self.classes = classes
        self.device = device
        self.compares = hasattr(network, "encode")
        self.cache: ByteCache[Features] = ByteCache(cache_bytes)

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[np.ndarray], references: Sequence[ReferenceTile] | None
    ) -> np.ndarray:
        """Return the probability of each defect class, float32 (B, K, h, w) in 0..1.

        Args:
            images: B tiles, uint8 RGB (h, w, 3) of one shape.
            references: the same pieces of the references, one each, for a network that compares.

        Raises:
            PredictionError: the network gives another number of classes, or a GPU's memory is too small.
        """
        try:
            output = self._forward(self._batch(images), references)
        except torch.OutOfMemoryError as error:
            raise PredictionError(
                f"the device's memory does not hold {len(images)} tiles of {images[0].shape[1]} x "
                f"{images[0].shape[0]} pixels; make batches or the cache smaller"
            ) from error
        wanted = (len(images), self.classes + 1, *images[0].shape[:2])
        if tuple(output.logits.shape) != wanted:
            raise PredictionError(
                f"the network gives outputs {tuple(output.logits.shape)} where {wanted} are needed; its "
                "classes are not those of the product"
            )
        defects: np.ndarray = output.logits.float().softmax(dim=1)[:, 1:].cpu().numpy()
        return defects

    def _forward(self, image: Tensor, references: Sequence[ReferenceTile] | None) -> SegOutput:
        output: SegOutput
        if references is None or not self.compares:
            output = self.network(image, None)
        elif self.cache.limit > 0:
            output = self.network(image, reference_features=self._features(references))
        else:
            output = self.network(image, self._batch([tile.pixels for tile in references]))
        return output

    def _features(self, tiles: Sequence[ReferenceTile]) -> Features:
        """Encoded references: of batch 1 when one serves all tiles, else one for each."""
        wanted = {(tile.key, tile.position, tile.pixels.shape): tile for tile in tiles}
        known: dict[tuple[object, ...], Features] = {}
        missing = []
        for identity, tile in wanted.items():
            features = self.cache.get(tile.key, identity[1:])
            if features is None:
                missing.append(identity)
            else:
                known[identity] = features
        if missing:
            encode = self.network.encode
            levels = encode(self._batch([wanted[identity].pixels for identity in missing]))  # type: ignore[operator]
            for row, identity in enumerate(missing):
                # Copies, because a row would keep the whole batch alive.
                features = tuple(level[row : row + 1].clone() for level in levels)
                size = sum(level.nbytes for level in features)
                self.cache.put(identity[0], identity[1:], features, size)
                known[identity] = features
        if len(wanted) == 1:
            return next(iter(known.values()))
        rows = [known[tile.key, tile.position, tile.pixels.shape] for tile in tiles]
        return tuple(torch.cat(level) for level in zip(*rows, strict=True))

    def _batch(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Normalised float32 (B, 3, h, w) on the device, in the channels-last memory of the pictures."""
        stacked = torch.from_numpy(np.stack(pictures)).to(self.device)
        return normalise(stacked.permute(0, 3, 1, 2))
