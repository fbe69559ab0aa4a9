"""What is trained: one or several networks, and how a batch becomes a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from cadnet.types import PairBatch, SegOutput


@dataclass(frozen=True)
class Outcome:
    """What one step gave.

    ``parts``: scalars, "loss" to differentiate and its parts detached. ``tallies``: name -> (count, total),
    scalars whose sums over an epoch give a share, such as the precision of pseudo-labels.
    """

    parts: Mapping[str, Tensor]
    tallies: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class Learner(nn.Module, ABC):
    """A method of training. All its state is in its parameters and buffers, so that it can be resumed.

    ``network`` is what is validated, kept and used afterwards: ``forward(image, reference) -> SegOutput``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @abstractmethod
    def forward(self, batch: PairBatch, progress: float) -> Outcome:
        """Return the losses of a batch.

        Args:
            batch: what the method's data give.
            progress: finished share of the run's steps, in [0, 1).
        """

    def companions(self) -> dict[str, nn.Module]:
        """Return further networks that a later training must start from, by name."""
        return {}

    def after_step(self, step: int) -> None:
        """React to the optimiser's ``step``, counted from 0 (moving averages)."""
        del step


class Supervised(Learner):
    """Every training image has its mask."""

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        super().__init__(network)
        self.loss = loss

    def forward(self, batch: PairBatch, progress: float) -> Outcome:
        """Return the loss's parts."""
        del progress
        output: SegOutput = self.network(batch.image, batch.reference)
        return Outcome(self.loss(output, batch.mask))
