"""A job's identity, and what of the parameters reaches its network and its data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cadnet.config import TrainParams
from cadnet.config.training import AugmentParams
from cadnet.datasets.manifest import open_dataset
from cadnet.models.factory import build_model
from cadnet.training.job import Job, build_network
from tests.fakes import write_fake_dataset
from tests.integration.train_fake import METHOD

TRAIN = TrainParams(epochs=1, batch_size=2, crop=32, flip=0.25, scale=(0.5, 2.0))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_fake_dataset(tmp_path / "fake")


def test_first_weights_of_an_encoder_are_the_methods_own_and_count_by_content(
    dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mit.safetensors"
    saved = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        weights = build_model("cadnet", 2).get_submodule("encoder").state_dict()
        weights = {key: value.contiguous() for key, value in weights.items()}
        save_file(weights, path)
        method = METHOD.model_copy(update={"encoder_weights": str(path)})
        network = build_network(method, TRAIN, 2)
        for key, value in network.get_submodule("encoder").state_dict().items():
            assert torch.equal(value, weights[key]), key
        saved.append(Job(open_dataset(dataset), method, TRAIN, 0).identity())
    assert saved[0]["encoder_weights"] != saved[1]["encoder_weights"]
    assert {key for key in saved[0] if saved[0][key] != saved[1][key]} == {"encoder_weights"}
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"of 'CADNet' names .*mit\.safetensors.*put the file there"):
        Job(open_dataset(dataset), method, TRAIN, 0).identity()


def test_augmentation_is_that_of_all_or_the_methods_own(dataset: Path) -> None:
    shared = Job(open_dataset(dataset), METHOD, TRAIN, 0).augmentation
    assert (shared.crop, shared.flip, shared.scale, shared.turn) == (32, 0.25, (0.5, 2.0), 0.0)
    own = METHOD.model_copy(update={"augment": AugmentParams(turn=0.3, noise=0.2)})
    changed = Job(open_dataset(dataset), own, TRAIN, 0).augmentation
    assert (changed.crop, changed.flip, changed.scale) == (32, 0.5, (1.0, 1.0))
    assert (changed.turn, changed.noise) == (0.3, 0.2)
