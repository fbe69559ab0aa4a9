"""Parameters of methods, training and evaluation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cadnet.config.base import Fraction, Name, Params, Positive, PositiveFloat

Weight = Annotated[float, Field(ge=0)]
Weighting = Literal["scalar", "pixel"]
"""How agreement weighs a pseudo-label's loss: by its mean over the batch, as in the code that the compared
numbers came from, or pixel by pixel, as the formulas say."""


class RampParams(Params):
    """The weight of the unlabelled term, and the fraction of the run over which it rises."""

    weight: Weight = 0.1
    """w_max: the weight at the end of the ramp."""
    ramp: Fraction = 0.4
    """Fraction of the run's steps after which the weight is w_max (UAPS: 16,000 of about 47,000)."""


class DctParams(RampParams):
    """Deep co-training: agreement of turned views of one network, or of two networks under attack."""

    kind: Literal["dct"]
    variant: Literal["rotation", "adversarial"] = "rotation"
    """Rotation is what the compared table used; adversarial is Qiao et al. 2018 in Peng et al.'s form."""
    adversarial_weight: Weight = 0.05
    """w_max of the adversarial term; ``weight`` is that of the agreement."""
    epsilon: PositiveFloat = 0.03
    """Step of the attack, as a fraction of the full range of grey levels."""


class UamtParams(RampParams):
    """Uncertainty-aware mean teacher."""

    kind: Literal["uamt"]
    decay: Fraction = 0.99
    """Highest decay of the teacher's moving average."""
    passes: Annotated[int, Field(ge=2, multiple_of=2)] = 8
    """Stochastic passes of the teacher that measure its uncertainty."""
    noise: PositiveFloat = 0.1
    """Standard deviation of the noise on the teacher's normalised image, clipped at twice that."""


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
    """Probability that a labelled image gets a box of another labelled one, with its labels."""
    mix_unlabelled: Fraction = 0.3
    """Probability that both views of an unlabelled image get a box of a labelled one."""


class UapsParams(RampParams):
    """Uncertainty-aware pseudo-labels of four decoders, mixed again in every step."""

    kind: Literal["uaps"]
    weighting: Weighting = "scalar"
    uncertainty_weight: Weight = 0.1
    """w_max of the decoders' divergence from their mean."""


SemiMethodParams = Annotated[
    DctParams | UamtParams | CpsParams | UccParams | UapsParams, Field(discriminator="kind")
]
"""Any of the methods, selected by its ``kind``."""


class Recipe(Params):
    """How a method is optimised."""

    optimizer: Literal["adamw", "sgd"]
    lr: PositiveFloat
    """At ``reference_batch``; scaled linearly with the total batch."""
    reference_batch: Positive = 8
    weight_decay: Annotated[float, Field(ge=0)]
    momentum: Fraction = 0.9
    head_lr_multiplier: PositiveFloat = 1.0
    schedule: Literal["poly", "cosine", "constant"]
    poly_power: PositiveFloat = 1.0
    warmup_fraction: Fraction = 0.0


class AugmentParams(Params):
    """How training samples are varied; image, reference and mask share the geometry."""

    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    """Range of the factor by which a sample is resized before the crop is cut, padded where too small."""
    flip: Fraction = 0.5
    """Chance of each of the two mirror images."""
    turn: Fraction = 0.0
    """Chance of a turn by 0, 90, 180 or 270 degrees, each alike."""
    photometric: Fraction = 0.0
    """Strength of brightness, contrast and colour changes, drawn independently for image and reference."""
    brightness: Fraction = 0.0
    """Chance that an image gets up to 1.5 times the contrast and up to half the range brighter. This, the
    chance of ``blur`` (box of 3, 5 or 7 px) and that of ``noise`` (variance 10 to 50 in grey levels) are
    changes of UAPS's code, drawn independently for image and reference."""
    blur: Fraction = 0.0
    noise: Fraction = 0.0

    @model_validator(mode="after")
    def _scale_ascends(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} must ascend; swap the two")
        return self


class MethodParams(Params):
    """One row of a results table: a network, its options and its losses."""

    title: str
    model: str
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    family: Name
    """Of networks that are optimised alike: the candidates of ``search.recipes`` that it tries."""
    recipe: Recipe
    encoder_weights: str | None = None
    """A safetensors file for the network's encoder; None starts at random. Nothing is downloaded."""
    loss: Literal["ce", "ce+cl", "ce+bcl", "ce+dice", "cl+cl"] = "ce"
    """"cl+cl" is contrastive on scores as well as distances, without cross-entropy."""
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.0
    """lambda_2 of Eq. 16, on a pixel mean; of "cl+cl" the weight of the distances' part."""
    defect_weight: PositiveFloat = 1.0
    """Of defects against background in "cl+cl"; the paper's is 1."""
    augment: AugmentParams | None = None
    """Augmentation of its own; None takes that of ``train``, so that none is favoured."""
    semi: SemiMethodParams | None = None
    """How the method learns from unlabelled images, if it does."""

    @property
    def one_class(self) -> bool:
        """Whether its network tells defects from background only."""
        return self.options.get("head") == "contrastive"


class TrainParams(AugmentParams):
    """What all methods share, so that none is favoured."""

    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    """Pairs per optimiser step over all devices (batch norm needs two)."""
    crop: Annotated[int, Field(ge=32, multiple_of=32)]
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    validate_every: Positive = 1
    devices: Literal["auto"] | Positive = "auto"


class EvaluateParams(Params):
    """How a trained network is scored."""

    batch_size: Positive = 16
    thresholds: Annotated[int, Field(ge=2)] = 1000
    """Bins of the precision-recall and F-threshold curves, in equal steps of log-odds."""
    defect_sizes: tuple[Fraction, ...] = (0.001, 0.01)
    """Upper edges of the size slices, as fractions of the image."""
    contrast_bins: Annotated[int, Field(ge=1, le=10)] = 3
    """Slices by how much defects stand out from the reference, equally filled."""
    overlays: Positive = 8

    @model_validator(mode="after")
    def _sizes_ascend(self) -> Self:
        if list(self.defect_sizes) != sorted(set(self.defect_sizes)):
            raise ValueError(f"defect_sizes {list(self.defect_sizes)} must ascend; sort them")
        return self
