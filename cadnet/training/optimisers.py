"""Optimisers and learning-rate schedules of the recipes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from cadnet.config import Recipe

ENCODERS = {"encoder", "backbone"}
"""Names of the module that is not the head."""


def parameter_groups(model: nn.Module, lr: float, weight_decay: float, head_multiplier: float) -> list[dict]:
    """Split trainable parameters by decay (matrices and kernels only) and by encoder / head.

    Biases, norm weights and other vectors do not decay (SegFormer, DeiT practice).
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (not ENCODERS.isdisjoint(name.split(".")), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr if in_encoder else lr * head_multiplier,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), parameters in sorted(groups.items(), reverse=True)
    ]


def build_optimizer(model: nn.Module, recipe: Recipe, batch_size: int) -> torch.optim.Optimizer:
    """Build a recipe's optimiser; the learning rate scales linearly with ``batch_size``."""
    lr = recipe.lr * batch_size / recipe.reference_batch
    groups = parameter_groups(model, lr, recipe.weight_decay, recipe.head_lr_multiplier)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum)
    fused = next(model.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), fused=fused)


def lr_factor(recipe: Recipe, step: int, total_steps: int) -> float:
    """Return the learning rate of ``step`` (0-based) as a fraction of the peak.

    Linear warm-up over ``warmup_fraction`` of the run, then: ``poly`` (1 - t)^power, ``cosine`` a half
    cosine to zero, ``constant`` one; t runs from 0 to 1 over the rest.
    """
    warmup = round(recipe.warmup_fraction * total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if recipe.schedule == "poly":
        return (1.0 - progress) ** recipe.poly_power
    if recipe.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def build_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, total_steps: int) -> LambdaLR:
    """Build the per-step schedule of a recipe."""
    return LambdaLR(optimizer, lambda step: lr_factor(recipe, step, total_steps))


def learning_rates(optimizer: torch.optim.Optimizer) -> Iterator[float]:
    """Yield the current learning rate of every parameter group."""
    for group in optimizer.param_groups:
        yield float(group["lr"])
