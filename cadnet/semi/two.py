"""What methods of two networks share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from cadnet.config.consistency import RampParams
from cadnet.semi.base import SemiSupervised, mean_supervised
from cadnet.types import PairBatch, SegOutput


class TwoNetworks(SemiSupervised):
    """L_sup(f1) + L_sup(f2), both over the same labelled batch; the first network is kept."""

    def __init__(self, network: nn.Module, second: nn.Module, loss: nn.Module, params: RampParams) -> None:
        super().__init__(network, loss, params)
        self.second = second

    def companions(self) -> dict[str, nn.Module]:
        """The second network."""
        return {"second": self.second}

    def both(self, image: Tensor, reference: Tensor) -> tuple[SegOutput, SegOutput]:
        """The outputs of both networks."""
        return self.network(image, reference), self.second(image, reference)

    def supervised(self, batch: PairBatch) -> Mapping[str, Tensor]:
        """Return the sum of both networks' losses."""
        outputs = self.both(batch.image, batch.reference)
        return mean_supervised([self.loss(output, batch.mask) for output in outputs], 1.0)
