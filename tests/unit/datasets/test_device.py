from pathlib import Path

import pytest
import torch

from cadnet.datasets.augment import (
    MEAN,
    STD,
    Augmentation,
    Geometry,
    from_unit_range,
    gather,
    normalise,
    resample,
    to_unit_range,
    transposed,
)
from cadnet.datasets.cache import decode_split
from cadnet.datasets.device import DevicePairs, EvalBatches, TrainBatches
from cadnet.datasets.manifest import open_dataset
from tests.fakes import write_fake_dataset


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> DevicePairs:
    folder: Path = tmp_path_factory.mktemp("device")
    dataset = open_dataset(write_fake_dataset(folder / "fake"))
    return DevicePairs(decode_split(dataset, "train", folder / "cache"))


def geometry(top: int, left: int, flip_x: int, flip_y: int) -> Geometry:
    return Geometry(*(torch.tensor([value]) for value in (top, left, 4, flip_x, flip_y, 0)))


@pytest.mark.parametrize("flip_x", [0, 1])
@pytest.mark.parametrize("flip_y", [0, 1])
def test_gather_is_slice_then_flip(flip_x: int, flip_y: int) -> None:
    source = torch.arange(2 * 3 * 6 * 7).view(2, 3, 6, 7)
    window = source[1, :, 1:5, 2:6]
    dims = [dim for dim, on in ((2, flip_x), (1, flip_y)) if on]
    expected = window.flip(dims) if dims else window
    result = gather(source, torch.tensor([1]), geometry(1, 2, flip_x, flip_y), 4)
    assert torch.equal(result[0], expected)
    plain = gather(source[:, 0], torch.tensor([1]), geometry(1, 2, flip_x, flip_y), 4)
    assert torch.equal(plain[0], expected[0])


def test_the_unit_range_has_black_at_0_and_white_at_1() -> None:
    grey = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(3, 3)[None, :, None].contiguous()
    normalised = normalise(grey)
    unit = to_unit_range(normalised)
    torch.testing.assert_close(unit[0, :, 0], torch.tensor([[0.0, 0.2, 1.0]] * 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(from_unit_range(unit), normalised, atol=1e-5, rtol=0)


def test_normalise_is_imagenet() -> None:
    pixel = torch.tensor([124, 116, 104], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(v - m) / s for v, m, s in zip((124, 116, 104), MEAN, STD, strict=True)]
    assert normalise(pixel).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_image_reference_and_mask_share_their_geometry(pairs: DevicePairs, turn: float) -> None:
    batches = TrainBatches(pairs, Augmentation(crop=32, flip=0.5, turn=turn), 4, seed=1)
    for batch in batches:
        # In the fakes a pixel differs from its reference exactly where the mask has a class.
        differs = ((batch.image - batch.reference).abs() > 1e-6).any(dim=1)
        assert torch.equal(differs, batch.mask > 0)


def test_a_turn_is_that_of_the_whole_crop() -> None:
    augmentation = Augmentation(32, flip=0.0, turn=1.0)
    drawn = augmentation.draw(64, 32, 32, torch.Generator().manual_seed(0))
    source = torch.arange(32 * 32).view(1, 32, 32)
    crops = transposed(gather(source, torch.zeros(64, dtype=torch.int64), drawn, 32), drawn)
    turns = [source[0].rot90(quarters) for quarters in range(4)]
    found = [next(k for k, turn in enumerate(turns) if torch.equal(turn, crop)) for crop in crops]
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize(("flip_x", "flip_y"), [(0, 0), (1, 0), (0, 1)])
def test_a_resized_window_of_the_crops_own_side_is_the_plain_crop(
    pairs: DevicePairs, flip_x: int, flip_y: int
) -> None:
    image, drawn = normalise(pairs.images[:1]), geometry(1, 2, flip_x, flip_y)
    plain = gather(image, torch.tensor([0]), drawn, 4)
    torch.testing.assert_close(resample(image, drawn, 4), plain, atol=1e-4, rtol=0)


def test_a_sample_shrunk_below_the_crop_is_padded_and_one_enlarged_is_cut(pairs: DevicePairs) -> None:
    small = next(iter(TrainBatches(pairs, Augmentation(32, scale=(0.5, 0.5)), 12, seed=1)))
    outside = small.mask == 255
    assert outside.float().mean() == 0.75
    # Beyond the image is the mean colour, 0 when normalised; half a pixel at the edge is interpolated.
    beyond = small.image[outside.unsqueeze(1).expand_as(small.image)]
    assert (beyond == 0).float().mean() > 0.95
    assert len({tuple((~one).nonzero()[0].tolist()) for one in outside}) > 6
    large = next(iter(TrainBatches(pairs, Augmentation(32, scale=(2.0, 2.0)), 12, seed=1)))
    assert large.image.shape == (12, 3, 32, 32) and not (large.mask == 255).any()
    differs, defect = ((large.image - large.reference).abs() > 1e-4).any(dim=1), large.mask > 0
    # Interpolation carries a defect's edge by half a source pixel at most.
    assert differs[defect].all() and (differs & ~defect).sum() < defect.sum()


@pytest.mark.parametrize("change", ["brightness", "blur", "noise"])
def test_degradations_have_their_chance_and_stay_in_range(pairs: DevicePairs, change: str) -> None:
    image = normalise(pairs.images[:1]).expand(200, -1, -1, -1)
    seen = Augmentation(32, **{change: 0.3}).distort(image, torch.Generator().manual_seed(0))
    changed = ((seen - image).abs() > 1e-3).flatten(1).any(dim=1)
    assert 0.15 < changed.float().mean() < 0.45
    pixels, before = to_unit_range(seen), to_unit_range(image)
    assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5
    if change == "brightness":
        assert (pixels >= before - 1e-5).all()
    if change == "noise":
        inside = changed.view(-1, 1, 1, 1) & (before > 0.1) & (before < 0.9)
        assert 3.2 < (255 * (pixels - before))[inside].std() < 7.1


def test_photometry_is_independent_for_image_and_reference(pairs: DevicePairs) -> None:
    batch = next(iter(TrainBatches(pairs, Augmentation(32, 0.0, photometric=0.4), 12, seed=1)))
    clean = (batch.mask == 0).unsqueeze(1).expand_as(batch.image)
    assert (batch.image - batch.reference)[clean].abs().mean() > 0.05


def test_an_epoch_is_a_function_of_seed_and_number(pairs: DevicePairs) -> None:
    def epoch(seed: int, number: int) -> torch.Tensor:
        batches = TrainBatches(pairs, Augmentation(32), 4, seed)
        batches.set_epoch(number)
        return torch.cat([batch.image for batch in batches])

    assert torch.equal(epoch(1, 3), epoch(1, 3))
    assert not torch.equal(epoch(1, 3), epoch(1, 4))
    assert not torch.equal(epoch(1, 3), epoch(2, 3))


def test_every_sample_once_an_epoch(pairs: DevicePairs) -> None:
    index = torch.cat([batch.index for batch in TrainBatches(pairs, Augmentation(32), 5, seed=0)])
    assert len(index) == 10  # 12 samples, the incomplete batch dropped
    assert len(index.unique()) == 10


def test_ranks_together_are_the_batch_of_one_process(pairs: DevicePairs) -> None:
    whole = list(TrainBatches(pairs, Augmentation(32), 4, seed=2))
    parts = [list(TrainBatches(pairs, Augmentation(32), 4, 2, rank, 2)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        joined = torch.cat([part[step].image for part in parts])
        assert torch.equal(joined, batch.image)


def test_eval_batches_cover_the_split_once_over_ranks(pairs: DevicePairs) -> None:
    seen = [int(i) for rank in range(3) for batch in EvalBatches(pairs, 2, rank, 3) for i in batch.index]
    assert sorted(seen) == list(range(12))


@pytest.mark.parametrize("rows", [[3], [0, 1, 2, 3], [5, 0, 11, 5], [7, 7]])
def test_plain_pairs_are_normalised_pixels(pairs: DevicePairs, rows: list[int]) -> None:
    batch = pairs.plain(torch.tensor(rows))
    assert torch.equal(batch.image, normalise(pairs.images[rows]))
    assert torch.equal(batch.reference, normalise(pairs.references[pairs.reference_index[rows]]))
    assert torch.equal(batch.mask, pairs.masks[rows].long())
    assert batch.index.tolist() == rows


def test_crop_larger_than_the_images_names_the_cure(pairs: DevicePairs) -> None:
    with pytest.raises(ValueError, match=r"train.crop is 64 but the images are 32 x 32"):
        next(iter(TrainBatches(pairs, Augmentation(64), 4, 0)))


def test_too_few_samples_for_a_batch(pairs: DevicePairs) -> None:
    with pytest.raises(ValueError, match=r"12 samples, fewer than train\.batch_size 16"):
        TrainBatches(pairs, Augmentation(32), 16, 0)


def test_batch_must_divide_among_devices(pairs: DevicePairs) -> None:
    with pytest.raises(ValueError, match="cannot be shared by 2 devices"):
        TrainBatches(pairs, Augmentation(32), 5, 0, world_size=2)
