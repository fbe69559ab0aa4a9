"""The card that goes with a product: what it is, how good, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Card:
    """What a reader of the card wants to know.

    ``validation``: name and value of the metric that chose it; ``test``: metrics in 0-1 that chose nothing;
    ``provenance`` and ``params`` are written as they are.
    """

    product: str
    method: str
    scale: str
    class_names: tuple[str, ...]
    data: str
    validation: tuple[str, float]
    candidates: int
    threshold: float
    threshold_origin: str
    min_pixels: int
    size: int
    references: int
    test: Mapping[str, float]
    provenance: Mapping[str, str]
    params: Mapping[str, Any]

    def markdown(self) -> str:
        """Return the card as markdown."""
        name, value = self.validation
        several = f"the best of {self.candidates} trainings" if self.candidates > 1 else "the only training"
        tests = [f"| {key} | {100 * number:.2f} |" for key, number in self.test.items()]
        origins = [f"- {key}: {text}" for key, text in self.provenance.items() if text]
        parts = [
            f"# {self.product}: {self.method}",
            f"Finds defects of the kinds {', '.join(self.class_names)} by comparing an image with a clean "
            f"reference, pixel by pixel. Scale of the training: {self.scale}.",
            "## How it decides",
            f"A pixel is a defect where the probability of any defect exceeds {self.threshold:.3f} "
            f"({self.threshold_origin}); an image is defective from {self.min_pixels} such pixels on. "
            f"{self.references} reference image{'s' if self.references != 1 else ''} "
            f"travel{'s' if self.references == 1 else ''} with it. Images larger than {self.size} pixels are "
            "cut into tiles of that size.",
            "## How it was chosen",
            f"It is {several} by `{name}` on validation images: {value:.4f}. {self.data}",
            "## Test",
            "At the network's own decision (the most probable class), in percent; the test chose nothing.",
            "\n".join(["| metric | % |", "| --- | ---: |", *tests]) if tests else "Not tested.",
            "## Limits",
            "It knows the kinds of defects and the products it was trained on. It was not tried on others, "
            "nor on images that do not lie on their reference, beyond the tolerances that the gate states. "
            "Its judgement does not replace an inspection that people's safety depends on.",
            "## Where it comes from",
            "\n".join(origins),
            "## Parameters",
            f"```yaml\n{yaml.safe_dump(dict(self.params), sort_keys=False)}```",
        ]
        return "\n\n".join(parts) + "\n"
