"""What each method learns from, where its gradients go, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cadnet.config import MethodParams, Recipe, TrainParams
from cadnet.models.tensors import WeightsError
from cadnet.models.weights import save_weights
from cadnet.semi.base import SemiBatch, SemiSupervised
from cadnet.semi.cotraining import AdversarialCoTraining, CrossPseudoSupervision, frozen_norms
from cadnet.semi.jobs import build_learner
from cadnet.semi.uamt import UncertaintyMeanTeacher
from cadnet.training.task import Learner, Outcome, Supervised
from cadnet.types import PairBatch

pytestmark = pytest.mark.slow

RECIPE = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.0, schedule="constant")
TRAIN = TrainParams(epochs=1, batch_size=2, crop=32)
SMALL = {"width": 4}

TWO_CONTRASTIVE = {
    "model": "cadnet",
    "loss": "cl+cl",
    "contrastive_weight": 0.5,
    "options": {"decoder": "multiply", "head": "contrastive"},
}

METHODS: dict[str, dict[str, object]] = {
    "dct": {"semi": {"kind": "dct"}},
    "dct-adversarial": {"semi": {"kind": "dct", "variant": "adversarial"}},
    "uamt": {"semi": {"kind": "uamt", "passes": 4}},
    "cps": {"semi": {"kind": "cps"}},
    "ucc": {"semi": {"kind": "ucc"}, "options": {**SMALL, "auxiliary": 1}},
    "ucc-pixel": {"semi": {"kind": "ucc", "weighting": "pixel"}, "options": {**SMALL, "auxiliary": 1}},
    "uaps": {"semi": {"kind": "uaps"}, "options": {**SMALL, "auxiliary": 3}},
    "uaps-pixel": {"semi": {"kind": "uaps", "weighting": "pixel"}, "options": {**SMALL, "auxiliary": 3}},
    "cadnet-uamt": {"semi": {"kind": "uamt", "passes": 4}, **TWO_CONTRASTIVE},
    "cadnet-cps": {"semi": {"kind": "cps"}, **TWO_CONTRASTIVE},
}


def method(name: str, **changes: object) -> MethodParams:
    values = {"title": name, "model": "unet", "family": "unet", "recipe": RECIPE}
    values |= {"loss": "ce+dice", "options": SMALL}
    return MethodParams.model_validate(values | METHODS.get(name, {}) | changes)


def learner(name: str, seed: int = 0) -> SemiSupervised:
    torch.manual_seed(seed)
    built = build_learner(method(name), TRAIN)
    assert isinstance(built, SemiSupervised)
    return built.train()


def pairs(seed: int, count: int = 2) -> PairBatch:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(count, 3, 32, 32, generator=generator)
    mask = torch.zeros(count, 32, 32, dtype=torch.long)
    mask[:, 8:20, 4:28] = 1
    image = reference + 2.0 * mask[:, None]
    return PairBatch(image, reference, mask, torch.arange(count))


BATCH = SemiBatch(pairs(1), pairs(2))


def step(one: Learner, batch: PairBatch | SemiBatch, progress: float = 1.0) -> Outcome:
    """One forward and backward pass, always with the same random numbers."""
    torch.manual_seed(7)
    one.zero_grad()
    outcome: Outcome = one(batch, progress)
    outcome.parts["loss"].backward()
    return outcome


def gradients(one: nn.Module) -> Tensor:
    found = [p.grad.flatten() for p in one.parameters() if p.grad is not None]
    return torch.cat(found) if found else torch.zeros(0)


@pytest.mark.parametrize("name", METHODS)
def test_unlabelled_images_move_the_weights_and_their_masks_do_not(name: str) -> None:
    one = learner(name)
    state = {key: value.clone() for key, value in one.state_dict().items()}

    def moved(unlabelled: PairBatch) -> Tensor:
        one.load_state_dict(state)
        step(one, SemiBatch(BATCH.labelled, unlabelled))
        return gradients(one.network)

    first, other = moved(pairs(2)), moved(pairs(3))
    assert torch.isfinite(first).all() and not torch.allclose(first, other)
    hidden = pairs(2)
    assert torch.equal(first, moved(PairBatch(hidden.image, hidden.reference, hidden.mask * 0, hidden.index)))


@pytest.mark.parametrize("name", METHODS)
def test_every_network_and_decoder_learns_and_the_teacher_does_not(name: str) -> None:
    one = learner(name)
    step(one, BATCH)
    for key, parameter in one.named_parameters():
        if key.startswith("teacher."):
            assert not parameter.requires_grad and parameter.grad is None
        else:
            # Biases before a batch norm receive exact zeros but for rounding.
            assert parameter.grad is not None, key
    for network in (one.network, *one.companions().values()):
        assert gradients(network).abs().sum() > 0


@pytest.mark.parametrize("name", METHODS)
def test_unlabelled_terms_reach_every_trained_part(name: str) -> None:
    one = learner(name)
    torch.manual_seed(7)
    found = one.unsupervised(BATCH.labelled, BATCH.views, 1.0)
    torch.stack([value for value, _ in found.losses.values()]).sum().backward()
    parts = [one.network, *one.companions().values()]
    parts += list(getattr(one.network, "decoders", ()))
    for part in parts:
        assert gradients(part).abs().sum() > 0
    assert set(found.pseudo.unique().tolist()) <= {0, 1, 255} and found.pseudo.shape == (2, 32, 32)


@pytest.mark.parametrize("name", METHODS)
def test_the_ramp_holds_unlabelled_terms_back_at_first(name: str) -> None:
    def extra(progress: float) -> float:
        parts = step(learner(name), BATCH, progress).parts
        terms = [parts[key] for key in ("consistency", "cross", "pseudo", "agreement") if key in parts]
        assert terms
        return parts["loss"].item()

    torch.manual_seed(7)
    labelled = step(learner(name), BATCH.labelled).parts["loss"].item()
    # e^-5 of the weight at the start, all of it at the end; dropout differs between the two calls.
    assert extra(0.0) < extra(1.0) and extra(0.0) > 0 and labelled > 0


def test_a_step_records_how_good_pseudo_labels_are() -> None:
    for name in METHODS:
        tallies = step(learner(name), BATCH).tallies
        assert {"pseudo_precision", "pseudo_recall", "disagreement"} <= tallies.keys()
        assert float(tallies["pseudo_recall"][1]) == 2 * 12 * 24


def test_cps_networks_start_apart_and_both_are_kept() -> None:
    one = learner("cps")
    assert isinstance(one, CrossPseudoSupervision)
    first, second = one.network.encoder.blocks[0][0].weight, one.second.encoder.blocks[0][0].weight
    assert not torch.equal(first, second)
    assert list(one.companions()) == ["second"]


def test_the_teacher_follows_the_student() -> None:
    one = learner("uamt")
    assert isinstance(one, UncertaintyMeanTeacher)
    start = one.teacher.encoder.blocks[0][0].weight.clone()
    assert torch.equal(start, one.network.encoder.blocks[0][0].weight)
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.add_(1.0)
        one.network.encoder.blocks[0][1].running_mean.fill_(3.0)
    one.after_step(0)  # decay 0: the student itself
    torch.testing.assert_close(one.teacher.encoder.blocks[0][0].weight, start + 1)
    assert one.teacher.encoder.blocks[0][1].running_mean.eq(3.0).all()
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.add_(1.0)
    one.after_step(3)  # decay 3/4
    torch.testing.assert_close(one.teacher.encoder.blocks[0][0].weight, start + 1.25)
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.add_(1.0)
    one.after_step(10**6)  # decay .99
    torch.testing.assert_close(one.teacher.encoder.blocks[0][0].weight, start + 1.25 + 0.01 * 1.75)


def test_of_the_teacher_only_dropout_is_active() -> None:
    one = learner("uamt")
    active = {type(m).__name__ for m in one.teacher.modules() if m.training}
    assert active == {"Dropout"}
    before = [buffer.clone() for buffer in one.teacher.buffers()]
    step(one, BATCH)
    assert all(torch.equal(old, new) for old, new in zip(before, one.teacher.buffers(), strict=True))
    assert not any(m.training for m in one.eval().modules())
    dropping = {type(m).__name__ for m in learner("cadnet-uamt").teacher.modules() if m.training}
    assert dropping and all("drop" in name.lower() for name in dropping)


def test_an_attack_leaves_no_gradient_and_no_statistics() -> None:
    one = learner("dct-adversarial")
    assert isinstance(one, AdversarialCoTraining)
    with frozen_norms(one):
        assert not one.network.encoder.blocks[0][1].training
        before = one.network.encoder.blocks[0][1].running_mean.clone()
        attacked = one._attack(one.network, BATCH.views, BATCH.labelled.mask)
    assert one.network.encoder.blocks[0][1].training
    assert all(p.grad is None for p in one.parameters()) and not attacked.requires_grad
    assert torch.equal(before, one.network.encoder.blocks[0][1].running_mean)


def test_a_method_that_uses_no_unlabelled_images_is_supervised() -> None:
    assert type(build_learner(method("plain"), TRAIN)) is Supervised


@pytest.mark.parametrize("name", ["ucc", "uaps"])
def test_a_method_of_several_decoders_says_what_it_needs(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"needs model: unet, options: \{auxiliary: [13]\} and loss: ce\+dice"
    ):
        build_learner(method(name, options=SMALL), TRAIN)
    with pytest.raises(ValueError, match="it has model unet"):
        build_learner(method(name, loss="ce"), TRAIN)


def test_fine_tuning_starts_from_both_networks(tmp_path: Path) -> None:
    one = learner("cps", seed=1)
    for folder, network in ((tmp_path, one.network), (tmp_path / "second", one.companions()["second"])):
        save_weights(folder, network, name="unet", num_classes=1, options=SMALL)
    torch.manual_seed(0)
    again = build_learner(method("cps"), TRAIN, tmp_path)
    for old, new in zip(one.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(old, new)
    with pytest.raises(WeightsError):
        build_learner(method("cps", options={"width": 8}), TRAIN, tmp_path)
    (tmp_path / "second/weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        build_learner(method("cps"), TRAIN, tmp_path)
