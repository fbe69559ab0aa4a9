"""CADNet's losses for few labels: two contrastive terms, no cross-entropy (paper, "Few-label learning")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cadnet.losses.contrastive import contrastive_loss
from cadnet.types import SegOutput


class FewLabelLoss(nn.Module):
    """loss = hinge(z) + distance_weight * hinge(D): scores and distances, both against the same margins.

    z is the one score per pixel that CADNet gives with ``head: contrastive``; it is drawn below 0.3 on
    background and above 2.2 on defects, as the distance D is. Both are means over the pixels that count,
    those of defects weighed by ``defect_weight``: hinges alone call a defect what is one more often than not,
    which is less than the best IoU asks for.

    Args:
        distance_weight: of the distance's term. The authors' code sums both terms with different divisors,
            which makes it 1/512 of the score's at 512 px; the paper says nothing.
        defect_weight: 1 is the paper's (its factor B of one class).

    Raises:
        ValueError: a negative weight, or none for defects.
    """

    factors: Tensor

    def __init__(self, distance_weight: float, defect_weight: float = 1.0) -> None:
        super().__init__()
        if distance_weight < 0 or defect_weight <= 0:
            raise ValueError(
                f"the weight of the distance must not be negative, got {distance_weight}, and that of "
                f"defects must be positive, got {defect_weight}"
            )
        self.distance_weight = distance_weight
        self.register_buffer("factors", torch.tensor([defect_weight]), persistent=False)

    def forward(self, output: SegOutput, mask: Tensor) -> dict[str, Tensor]:
        """Return float32 scalars: "loss" to differentiate; "score" and "contrastive" detached.

        Args:
            output: logits (B, 2, H, W), whose second channel is z, and a distance.
            mask: int64 (B, H, W) in {0, 1, 255}.

        Raises:
            ValueError: the network has more than one class or gives no distance.
        """
        if output.distance is None or output.logits.shape[1] != 2:
            raise ValueError(
                "loss few-label needs a distance and one score per pixel; use model: cadnet with "
                "options {decoder: multiply, head: contrastive}"
            )
        score = contrastive_loss(output.logits[:, 1:], mask, self.factors)
        distance = contrastive_loss(output.distance, mask, self.factors)
        loss = score + self.distance_weight * distance
        return {"loss": loss, "score": score.detach(), "contrastive": distance.detach()}
