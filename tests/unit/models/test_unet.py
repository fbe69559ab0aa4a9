"""U-Net: structure, its decoders, sizes of images, precision, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cadnet.models.layers import pad_to_multiple
from cadnet.models.perturbation import feature_noise
from cadnet.models.unet import UNet


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(2, width=4, auxiliary=2).eval()


def images(batch: int, height: int, width: int) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def literal(network: UNet, image: Tensor) -> Tensor:
    """The main path in evaluation, written out with the network's tensors."""
    state = network.state_dict()

    def block(x: Tensor, name: str) -> Tensor:
        for conv, norm in ((0, 1), (4, 5)):
            x = F.conv2d(x, state[f"{name}.{conv}.weight"], state[f"{name}.{conv}.bias"], padding=1)
            scale, shift, mean, var = (
                state[f"{name}.{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
            )
            x = F.batch_norm(x, mean, var, scale, shift)
            x = torch.where(x > 0, x, 0.01 * x)
        return x

    maps = [block(image, "encoder.blocks.0")]
    for level in range(1, 5):
        maps.append(block(F.max_pool2d(maps[-1], 2), f"encoder.blocks.{level}"))
    x = maps[4]
    for step in range(4):
        name = f"decoders.0.ups.{step}"
        x = F.conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)
        x = block(torch.cat([maps[3 - step], x], dim=1), f"decoders.0.blocks.{step}")
    name = "decoders.0.classifier"
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def test_the_main_path_written_out(network: UNet) -> None:
    network.train()(images(3, 32, 32))  # so that running statistics differ from their start
    image = images(2, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image).logits, literal(network, image))


def test_dropout_is_of_elements_and_grows_with_depth(network: UNet) -> None:
    layers = [m for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    assert all(type(layer) is nn.Dropout for layer in layers)
    assert [layer.p for layer in layers if layer.p > 0] == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert all(layer.p == 0 for layer in network.decoders.modules() if isinstance(layer, nn.Dropout))


def test_dropout_alone_can_be_switched_on(network: UNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = images(1, 32, 32)
    with torch.no_grad():
        first, second = (network(image).logits for _ in range(2))
    assert not torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_maps_of_the_encoder(network: UNet) -> None:
    features = network.encode(images(2, 32, 48))
    assert [tuple(f.shape) for f in features] == [
        (2, 4, 32, 48), (2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3),
    ]  # fmt: skip
    assert all(network.decode(features, index).shape == (2, 3, 32, 48) for index in range(3))


def test_every_decoder_starts_from_its_own_weights(network: UNet) -> None:
    features = network.encode(images(1, 32, 32))
    main, *others = (network.decode(features, index) for index in range(3))
    assert all(not torch.equal(main, other) for other in others)
    assert not torch.equal(*others)
    shapes = [[(n, p.shape) for n, p in d.named_parameters()] for d in network.decoders]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("training", [False, True])
def test_forward_is_the_main_decoder(network: UNet, training: bool) -> None:
    network.train(training)
    image = images(2, 32, 32)
    outputs = []
    for call in (lambda: network(image).logits, lambda: network.decode(network.encode(image))):
        torch.manual_seed(2)
        outputs.append(call())
    assert torch.equal(*outputs)
    outputs[0].square().mean().backward()
    assert all(p.grad is None for decoder in network.decoders[1:] for p in decoder.parameters())


def test_perturbed_maps_train_encoder_and_auxiliary_decoder(network: UNet) -> None:
    features = network.train().encode(images(2, 32, 32))
    network.decode(feature_noise(features), 1).square().mean().backward()
    trained = [*network.encoder.parameters(), *network.decoders[1].parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad.any() for p in trained if p.ndim == 4)  # a bias before a norm changes nothing
    assert all(p.grad is None for index in (0, 2) for p in network.decoders[index].parameters())


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 47), (48, 17)])
def test_any_size_is_padded_and_cut(network: UNet, size: tuple[int, int]) -> None:
    image = images(2, *size)
    with torch.no_grad():
        logits = network(image).logits
        whole = network.decode(network.encode(pad_to_multiple(image, 16)))
    assert logits.shape == (2, 3, *size)
    assert torch.equal(logits, whole[..., : size[0], : size[1]])


def test_bfloat16_autocast_stays_near_float32() -> None:
    torch.manual_seed(0)
    network = UNet(1, width=8)
    network.train()(images(4, 64, 64))
    image = images(2, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network.eval()(image).logits
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(image).logits
    assert rounded.dtype == torch.bfloat16
    assert F.mse_loss(rounded.float(), exact).sqrt() < 0.05 * exact.std() + 0.01


def test_channels_last_computes_the_same(network: UNet) -> None:
    image = images(2, 32, 48)
    with torch.no_grad():
        plain = network(image).logits
        network.to(memory_format=torch.channels_last)
        last = network(image.contiguous(memory_format=torch.channels_last)).logits
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


def test_mistakes_are_explained(network: UNet) -> None:
    features = network.encode(images(1, 32, 32))
    with pytest.raises(ValueError, match=r"multiples of 16, got 32 x 40; use pad_to_multiple\(image, 16\)"):
        network.encode(images(1, 32, 40))
    with pytest.raises(ValueError, match=r"multiples of 16, got 32 x 24"):
        network.decode([f[..., : f.shape[3] * 3 // 4] for f in features])
    with pytest.raises(ValueError, match="5 maps of encode, got 4"):
        network.decode(features[:4])
    for index in (-1, 3):
        with pytest.raises(ValueError, match=rf"decoder {index} is none of .* 3; .* larger 'auxiliary'"):
            network.decode(features, index)
    with pytest.raises(ValueError, match="width counts channels and must be at least 1, got 0"):
        UNet(2, width=0)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        UNet(2, auxiliary=-1)
