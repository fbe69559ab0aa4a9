"""The learner that a method declares."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cadnet.config import MethodParams, TrainParams
from cadnet.config.consistency import CpsParams, DctParams, UamtParams, UapsParams, UccParams
from cadnet.losses.build import build_loss
from cadnet.models.unet import UNet
from cadnet.models.weights import load_weights
from cadnet.semi import uaps, ucc
from cadnet.semi.cps import CrossPseudoSupervision
from cadnet.semi.dct import RotationCoTraining
from cadnet.semi.dct_adversarial import AdversarialCoTraining
from cadnet.semi.uamt import UncertaintyMeanTeacher
from cadnet.training.learner import Learner, Supervised
from cadnet.training.supervised import build_network

SECOND = "second"
"""Folder of the second network's weights beside the first one's."""


def build_learner(method: MethodParams, train: TrainParams, start: Path | None = None) -> Learner:
    """Build a method's networks from torch's generator and what trains them, for one class of defects.

    Args:
        method: what is built.
        train: what all methods share.
        start: folder of weights to begin with; None begins at random.

    Raises:
        ValueError: the method does not fit its network or its loss.
        FileNotFoundError, cadnet.models.tensors.WeightsError: ``start`` holds no weights of these networks.
    """
    loss = build_loss(method, (1,))

    def network(folder: str = ".") -> nn.Module:
        built = build_network(method, train, 1)
        if start is not None:
            load_weights(start / folder, built)
        return built

    params = method.semi
    match params:
        case None:
            return Supervised(network(), loss)
        case DctParams(variant="rotation"):
            return RotationCoTraining(network(), loss, params)
        case DctParams():
            return AdversarialCoTraining(network(), network(SECOND), loss, params)
        case CpsParams():
            return CrossPseudoSupervision(network(), network(SECOND), loss, params)
        case UamtParams():
            return UncertaintyMeanTeacher(network(), loss, params)
        case UccParams():
            return ucc.CrossHeadCoTraining(_with_decoders(network(), method, ucc.AUXILIARY), params)
        case UapsParams():
            return uaps.MixedPseudoSupervision(_with_decoders(network(), method, uaps.AUXILIARY), params)


def _with_decoders(network: nn.Module, method: MethodParams, auxiliary: int) -> UNet:
    """The network, if it is what a method of several decoders needs."""
    if not isinstance(network, UNet) or len(network.decoders) != auxiliary + 1 or method.loss != "ce+dice":
        raise ValueError(
            f"method {method.title!r} needs model: unet, options: {{auxiliary: {auxiliary}}} and loss: "
            f"ce+dice; it has model {method.model}, options {method.options} and loss {method.loss}"
        )
    return network
