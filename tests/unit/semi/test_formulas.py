"""The methods' loss terms on tensors small enough to compute by hand."""

from __future__ import annotations

import math

import pytest
import torch

from cadnet.losses.contrastive import ScoreDistanceLoss
from cadnet.losses.segmentation import cross_entropy, cross_entropy_map, dice_loss, overlap_loss
from cadnet.semi.base import disagreement, label_quality, ramp_weight
from cadnet.semi.cotraining import attacked_image, jensen_shannon, turn
from cadnet.semi.decoders import kl_divergence, mixed_labels, uncertainty_weighted_loss
from cadnet.semi.uamt import certainty_threshold, entropy, masked_difference
from cadnet.types import SegOutput

LOG2 = math.log(2)


def of(*probabilities: float) -> torch.Tensor:
    """Probabilities of a defect in a row of pixels, as (1, 2, 1, W)."""
    defect = torch.tensor(probabilities)
    return torch.stack((1 - defect, defect)).view(1, 2, 1, -1)


def test_the_ramp_rises_to_its_height_and_stays() -> None:
    assert ramp_weight(0.1, 0.4, 0.0) == pytest.approx(0.1 * math.exp(-5))
    assert ramp_weight(0.1, 0.4, 0.2) == pytest.approx(0.1 * math.exp(-1.25))
    assert ramp_weight(0.1, 0.4, 0.4) == ramp_weight(0.1, 0.4, 0.9) == pytest.approx(0.1)
    assert ramp_weight(0.1, 0.0, 0.0) == 0.1


def test_overlap_loss_is_half_cross_entropy_half_dice() -> None:
    logits, mask = of(0.75, 0.5).log(), torch.tensor([[[1, 0]]])
    ce = -(math.log(0.75) + math.log(0.5)) / 2
    # Background: p .25 + .5, y 1, overlap .5; defect: p .75 + .5, y 1, overlap .75.
    dice = 1 - (2 * 0.5 / 1.75 + 2 * 0.75 / 2.25) / 2
    assert cross_entropy(logits, mask).item() == pytest.approx(ce)
    assert dice_loss(logits, mask).item() == pytest.approx(dice)
    assert overlap_loss(logits, mask).item() == pytest.approx((ce + dice) / 2)
    by_pixel = cross_entropy_map(logits, torch.tensor([[[1, 255]]]))
    assert by_pixel.flatten().tolist() == pytest.approx([-math.log(0.75), 0.0])


def test_score_and_distance_are_held_against_the_same_margins() -> None:
    score, distance = torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([[[[0.2, 3.0]]]])
    logits = torch.cat((torch.full_like(score, 1.25), score), dim=1)
    parts = ScoreDistanceLoss(0.5)(SegOutput(logits, distance), torch.tensor([[[0, 1]]]))
    # Scores: max(0, 1 - .3) and max(0, 2.2 - 1); distances are beyond both margins.
    assert parts["score"].item() == pytest.approx((0.7 + 1.2) / 2)
    assert parts["contrastive"].item() == 0.0
    assert parts["loss"].item() == pytest.approx(0.95)
    far = ScoreDistanceLoss(0.5)(SegOutput(logits, distance.flip(3)), torch.tensor([[[0, 1]]]))
    assert far["contrastive"].item() == pytest.approx((2.7 + 2.0) / 2)
    assert far["loss"].item() == pytest.approx(0.95 + 0.5 * 2.35)
    weighty = ScoreDistanceLoss(0.5, 3.0)(SegOutput(logits, distance.flip(3)), torch.tensor([[[0, 1]]]))
    assert weighty["score"].item() == pytest.approx((0.7 + 3 * 1.2) / 2)
    assert weighty["contrastive"].item() == pytest.approx((2.7 + 3 * 2.0) / 2)


def test_score_and_distance_need_a_siamese_network_of_one_class() -> None:
    with pytest.raises(ValueError, match="head: contrastive"):
        ScoreDistanceLoss(1.0)(SegOutput(torch.zeros(1, 2, 1, 1)), torch.zeros(1, 1, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="must not be negative"):
        ScoreDistanceLoss(-1.0)


def test_divergence_and_trust_by_hand() -> None:
    target, other = of(0.5, 0.25), of(0.5, 0.75)
    expected = 0.25 * math.log(0.25 / 0.75) + 0.75 * math.log(0.75 / 0.25)
    doubt = kl_divergence(target, other)
    assert doubt.tolist() == [[pytest.approx([0.0, expected], abs=1e-6)]]
    logits, labels = of(0.75, 0.5).log(), torch.tensor([[[1, 0]]])
    trust = (1 + math.exp(-expected)) / 2
    scalar = trust * overlap_loss(logits, labels).item()
    assert uncertainty_weighted_loss(logits, labels, doubt, "scalar").item() == pytest.approx(scalar)
    pixels = -(math.log(0.75) + math.exp(-expected) * math.log(0.5)) / 2
    by_pixel = (pixels + trust * dice_loss(logits, labels).item()) / 2
    assert uncertainty_weighted_loss(logits, labels, doubt, "pixel").item() == pytest.approx(by_pixel)


def test_without_doubt_both_weightings_are_the_plain_loss() -> None:
    logits, labels = of(0.9, 0.2, 0.4).log(), torch.tensor([[[1, 0, 1]]])
    none = torch.zeros(1, 1, 3)
    plain = overlap_loss(logits, labels).item()
    assert uncertainty_weighted_loss(logits, labels, none, "scalar").item() == pytest.approx(plain)
    assert uncertainty_weighted_loss(logits, labels, none, "pixel").item() == pytest.approx(plain)


def test_uncertainty_and_its_threshold() -> None:
    assert entropy(of(0.5, 1.0)).tolist() == [[pytest.approx([LOG2, 0.0], abs=1e-5)]]
    assert certainty_threshold(2, 0.0, 0.4) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * LOG2)
    # The published code: 0.75 + 2.5 w(t), w rising to 0.1 with the consistency's own ramp.
    for progress in (0.1, 0.2, 0.4, 0.7, 1.0):
        wanted = (0.75 + 2.5 * ramp_weight(0.1, 0.4, progress)) * LOG2
        assert certainty_threshold(2, progress, 0.4) == pytest.approx(wanted)
    assert certainty_threshold(2, 0.4, 0.4) == pytest.approx(LOG2)
    assert certainty_threshold(3, 1.0, 1.0) == pytest.approx(math.log(3))


def test_masked_difference_counts_sure_pixels_only() -> None:
    student, teacher = of(0.5, 0.9), of(0.25, 0.0)
    sure = torch.tensor([[[True, False]]])
    # Both labels differ by .25 on the sure pixel: 2 * .0625 / (2 * 1).
    assert masked_difference(student, teacher, sure).item() == pytest.approx(0.0625)
    assert masked_difference(student, teacher, ~sure & sure).item() == 0.0


def test_jensen_shannon_of_opposites_is_log_two() -> None:
    assert jensen_shannon(of(0.0), of(1.0)).item() == pytest.approx(LOG2, abs=1e-5)
    assert jensen_shannon(of(0.3), of(0.3)).item() == pytest.approx(0.0, abs=1e-6)
    mixed = -(0.5 * math.log(0.5) * 2)
    halves = (-(0.25 * math.log(0.25) + 0.75 * math.log(0.75))) * 2
    assert jensen_shannon(of(0.25), of(0.75)).item() == pytest.approx(mixed - halves / 2)


def test_an_attack_moves_by_epsilon_of_the_grey_levels_and_stays_in_range() -> None:
    # Black in red and green, white in blue, normalised.
    pixels = torch.tensor([0.0, 0.0, 255.0])
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    image = ((pixels - mean) / std).view(1, 3, 1, 1)
    moved = attacked_image(image, torch.tensor([2.0, -3.0, 0.5]).view(1, 3, 1, 1), 0.1)
    levels = moved.flatten() * std + mean
    assert levels.tolist() == pytest.approx([25.5, 0.0, 255.0], abs=1e-3)


def test_quarter_turns_come_back() -> None:
    image = torch.arange(18.0).view(1, 2, 3, 3)
    assert torch.equal(turn(turn(image, 3), -3), image)
    assert turn(image, 1)[0, 0].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]


def test_mixed_labels_follow_the_decoders() -> None:
    agreed = torch.stack([of(0.9, 0.1)] * 4)
    assert mixed_labels(agreed).tolist() == [[[1, 0]]]
    torch.manual_seed(0)
    split = torch.stack([of(1.0, 1.0), of(0.0, 1.0), of(0.0, 1.0), of(0.0, 1.0)])
    seen = [mixed_labels(split)[0, 0, 0].item() for _ in range(2000)]
    # The largest share of Dirichlet(1, 1, 1, 1) exceeds a half for one decoder with probability (1/2)^3.
    assert sum(seen) / len(seen) == pytest.approx(0.125, abs=0.03)
    assert mixed_labels(split)[0, 0, 1] == 1


def test_label_quality_and_disagreement_by_hand() -> None:
    pseudo = torch.tensor([[[1, 1, 0, 255, 1, 0]]])
    truth = torch.tensor([[[1, 0, 1, 1, 255, 0]]])
    quality = label_quality(pseudo, truth)
    assert [n.item() for n in quality["pseudo_precision"]] == [1, 2]
    assert [n.item() for n in quality["pseudo_recall"]] == [1, 3]
    differing = disagreement(torch.tensor([[[1, 0, 0]]]), torch.tensor([[[1, 1, 0]]]))
    assert [n.item() for n in differing] == [1, 2]
