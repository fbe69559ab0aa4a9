"""A product with a small CADNet, and networks whose output is known by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cadnet.datasets.augment import STD
from cadnet.images import write_png
from cadnet.inference import Product, write_product
from cadnet.models.factory import build_model
from cadnet.models.weights import save_weights
from cadnet.types import SegOutput

CLASSES = ("line", "abpt")
OPTIONS = {"width": 16, "drop_path": 0.0}


def save_model(folder: Path, name: str = "cadnet", classes: Sequence[str] = CLASSES) -> Path:
    """A network with random weights, its outputs spread so that not all pixels are alike."""
    torch.manual_seed(0)
    network = build_model(name, len(classes), **OPTIONS)
    nn.init.normal_(network.head.classifier.weight, std=0.5)  # type: ignore[union-attr,arg-type]
    save_weights(folder, network, name=name, num_classes=len(classes), options=OPTIONS, class_names=classes)
    return folder


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, uint8 RGB (height, width, 3) in 40..110: up to 145 may be added."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(40, 110, (1, 3, 6, 6)))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(40, 110)
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


def make_product(root: Path, references: Mapping[str, np.ndarray], model: Path, **options: Any) -> Product:
    """A product folder ``root``/product of references given as pixels."""
    files = {}
    for name, pixels in references.items():
        files[name] = root / "clean" / f"{name}.png"
        write_png(files[name], pixels)
    settings: dict[str, Any] = {"name": "screen", "size": 64, **options}
    return write_product(root / "product", model=model, references=files, **settings)


class Known(nn.Module):
    """Compares pixel by pixel: added red is the probability of class 1, added blue of class 2, 255 being 1.

    ``encoded`` counts encoded references.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0
        self.batches: list[int] = []

    def encode(self, reference: Tensor) -> tuple[Tensor, ...]:
        self.encoded += len(reference)
        return (reference,)

    def forward(
        self,
        image: Tensor,
        reference: Tensor | None = None,
        *,
        reference_features: Sequence[Tensor] | None = None,
    ) -> SegOutput:
        self.batches.append(len(image))
        if reference_features is None:
            assert reference is not None
            reference_features = self.encode(reference)
        added = (image - reference_features[0]) * torch.tensor(STD).view(1, 3, 1, 1) / 255
        defects = added[:, [0, 2]].clamp(1e-6, 1)
        good = (1 - defects.sum(1, keepdim=True)).clamp(min=1e-6)
        return SegOutput(torch.cat((good, defects), dim=1).log())


class Appearance(nn.Module):
    """Looks at the image alone: the probability of class 1 is what the tile's mean red says."""

    def forward(self, image: Tensor, reference: Tensor | None = None) -> SegOutput:
        assert reference is None
        mean = torch.sigmoid(image[:, :1].mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *image.shape[2:])
        rest = torch.full_like(mean, 1e-6)
        return SegOutput(torch.cat((1 - mean, mean, rest), dim=1).log())
