"""Parameters of the methods that also learn from unlabelled images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cadnet.config.base import Fraction, Params, PositiveFloat

Weight = Annotated[float, Field(ge=0)]
Weighting = Literal["scalar", "pixel"]
"""How agreement weighs a pseudo-label's loss: by its mean over the batch, as in the code that the compared
numbers came from, or pixel by pixel, as the formulas say."""


class RampParams(Params):
    """The weight of what unlabelled images teach, and over which share of the run it rises."""

    weight: Weight = 0.1
    """w_max: the weight at the end of the ramp."""
    ramp: Fraction = 0.4
    """Share of the run's steps after which the weight is w_max (UAPS: 16,000 of about 47,000)."""


class DctParams(RampParams):
    """Deep co-training: agreement of turned views of one network, or of two networks under attack."""

    kind: Literal["dct"]
    variant: Literal["rotation", "adversarial"] = "rotation"
    """Rotation is what the compared table used; adversarial is Qiao et al. 2018 in Peng et al.'s form."""
    adversarial_weight: Weight = 0.05
    """w_max of the adversarial term; ``weight`` is that of the agreement."""
    epsilon: PositiveFloat = 0.03
    """Step of the attack, as a share of the full range of grey levels."""


class UamtParams(RampParams):
    """Uncertainty-aware mean teacher."""

    kind: Literal["uamt"]
    decay: Fraction = 0.99
    """Highest decay of the teacher's moving average."""
    passes: Annotated[int, Field(ge=2, multiple_of=2)] = 8
    """Stochastic passes of the teacher that measure its uncertainty."""
    noise: PositiveFloat = 0.1
    """Standard deviation of the noise on the teacher's normalised image, cut at twice of it."""


class CpsParams(RampParams):
    """Cross pseudo supervision of two networks."""

    kind: Literal["cps"]
    on_labelled: bool = True
    """Whether the labelled images are cross-supervised, too."""


class UccParams(RampParams):
    """Uncertainty-guided cross-head co-training."""

    kind: Literal["ucc"]
    weighting: Weighting = "scalar"
    mix_labelled: Fraction = 0.2
    """Chance that a labelled image gets a box of another labelled one, with its labels."""
    mix_unlabelled: Fraction = 0.3
    """Chance that both views of an unlabelled image get a box of a labelled one."""


class UapsParams(RampParams):
    """Uncertainty-aware pseudo-labels of four decoders, mixed anew in every step."""

    kind: Literal["uaps"]
    weighting: Weighting = "scalar"
    uncertainty_weight: Weight = 0.1
    """w_max of the decoders' divergence from their mean."""


SemiMethodParams = Annotated[
    DctParams | UamtParams | CpsParams | UccParams | UapsParams, Field(discriminator="kind")
]
"""Any of the methods, told apart by its ``kind``."""
