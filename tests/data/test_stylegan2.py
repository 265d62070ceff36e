"""Our StyleGAN2 against one written out in loops, and the state dicts that it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bitface.data.stylegan2 import StyleGAN2, enlarged, modulated_convolution, stylegan2_from_state
from bitface.errors import BitfaceError

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
State = dict[str, Tensor]


def random_network(channels: tuple[int, ...] = (8, 6, 5), z_dim: int = 12, w_dim: int = 16) -> StyleGAN2:
    """Nothing in it is zero or one, filters excepted."""
    torch.manual_seed(0)
    network = StyleGAN2(z_dim, w_dim, channels, layers=3).eval().requires_grad_(False)
    for key, value in network.state_dict().items():
        if not key.endswith(("weight", "resample_filter")):
            value.add_(torch.randn_like(value) * 0.5)
    return network


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution as in textbooks, each pixel of one plane spreading the kernel: every side grows by the kernel's."""
    height, width = kernel.shape
    out = np.zeros((x.shape[0] + height - 1, x.shape[1] + width - 1))
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            out[row : row + height, column : column + width] += x[row, column] * kernel
    return out


def spread(x: np.ndarray) -> np.ndarray:
    """Zeros between the pixels of a plane."""
    out = np.zeros((2 * x.shape[0] - 1, 2 * x.shape[1] - 1))
    out[::2, ::2] = x
    return out


def plain_enlarged(image: np.ndarray, fir: np.ndarray = FIR) -> np.ndarray:
    return np.stack([convolve(spread(plane), 4 * fir)[1:-1, 1:-1] for plane in image])


def plain_convolution(x: np.ndarray, weight: np.ndarray, style: np.ndarray, fir: np.ndarray | None) -> np.ndarray:
    """One image; the weights are modulated and demodulated one by one."""
    outputs = []
    for filters in weight:
        modulated = np.stack([factor * kernel for factor, kernel in zip(style, filters, strict=True)])
        modulated = modulated / np.sqrt((modulated**2).sum() + 1e-8)
        total = np.zeros(())
        for plane, kernel in zip(x, modulated, strict=True):
            if fir is None:  # what networks call convolution is correlation
                total = total + convolve(plane, kernel[::-1, ::-1])[1:-1, 1:-1]
            else:
                total = total + convolve(convolve(spread(plane), kernel), 4 * fir)[2:-2, 2:-2]
        outputs.append(total)
    return np.stack(outputs)


def plain_generator(state: State, z: np.ndarray, truncation: float, layers: int, sides: list[int]) -> np.ndarray:
    """One latent → one image in float64."""
    values = {key: value.double().numpy() for key, value in state.items()}

    def activated(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)

    def style(layer: str) -> np.ndarray:
        weight = values[f"{layer}.affine.weight"]
        return weight @ w / np.sqrt(weight.shape[1]) + values[f"{layer}.affine.bias"]

    w = z / np.sqrt((z**2).mean() + 1e-8)
    for layer in range(layers):
        weight, bias = (values[f"mapping.fc{layer}.{name}"] for name in ("weight", "bias"))
        w = activated(0.01 / np.sqrt(len(w)) * weight @ w + 0.01 * bias)
    w = values["mapping.w_avg"] + truncation * (w - values["mapping.w_avg"])
    x, image = values["synthesis.b4.const"], np.zeros((3, 2, 2))
    for side in sides:
        for name in ("conv1",) if side == 4 else ("conv0", "conv1"):
            part = f"synthesis.b{side}.{name}"
            fir = FIR if name == "conv0" else None
            x = plain_convolution(x, values[f"{part}.weight"], style(part), fir)
            x = x + values[f"{part}.noise_const"] * values[f"{part}.noise_strength"]
            x = activated(x + values[f"{part}.bias"][:, None, None])
        part = f"synthesis.b{side}.torgb"
        weight = values[f"{part}.weight"][:, :, 0, 0] * style(part) / np.sqrt(len(x))
        picture = np.einsum("oi,ihw->ohw", weight, x) + values[f"{part}.bias"][:, None, None]
        image = plain_enlarged(image) + picture
    return image


def test_the_modulated_convolution_against_loops() -> None:
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(3, 4, 5, 6)), random.normal(size=(7, 4, 3, 3))
    styles, lopsided = random.normal(size=(3, 4)), random.normal(size=(4, 4))
    for fir in (None, FIR, lopsided):
        expected = np.stack([plain_convolution(*pair, fir) for pair in zip(x, [weight] * 3, styles, strict=True)])
        image, weights, style = (torch.from_numpy(value) for value in (x, weight, styles))
        found = modulated_convolution(image, weights, style, None if fir is None else torch.from_numpy(fir))
        assert found.shape == (3, 7, *((5, 6) if fir is None else (10, 12)))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_enlarging_against_loops() -> None:
    random = np.random.default_rng(1)
    for fir in (FIR, random.normal(size=(4, 4))):
        image = random.normal(size=(2, 3, 4, 5))
        found = enlarged(torch.from_numpy(image), torch.from_numpy(fir)).numpy()
        np.testing.assert_allclose(found, np.stack([plain_enlarged(one, fir) for one in image]), rtol=1e-9, atol=1e-9)
    flat = enlarged(torch.ones(1, 1, 6, 6), torch.from_numpy(FIR).float())
    torch.testing.assert_close(flat[:, :, 1:-1, 1:-1], torch.ones(1, 1, 10, 10))


@pytest.mark.parametrize("truncation", [1.0, 0.6])
def test_the_generator_against_loops(truncation: float) -> None:
    network = random_network()
    z = torch.randn(2, 12)
    images = network(z, truncation)
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    for latent, image in zip(z.double().numpy(), images.numpy(), strict=True):
        expected = plain_generator(network.state_dict(), latent, truncation, 3, [4, 8, 16])
        np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-4)


def test_truncation() -> None:
    network = random_network()
    z = torch.randn(3, 12)
    mean = network(z, truncation=0)
    torch.testing.assert_close(mean[1:], mean[:1].expand(2, -1, -1, -1))
    torch.testing.assert_close(mean, network(torch.randn(3, 12), truncation=0))
    spreads = [network(z, truncation).std(0).mean() for truncation in (0, 0.5, 1)]
    assert spreads == sorted(spreads)
    assert spreads[1] > 1e-3


def official_keys(sides: list[int], layers: int) -> set[str]:
    """As the published networks list them."""
    keys = {f"mapping.fc{layer}.{name}" for layer in range(layers) for name in ("weight", "bias")} | {"mapping.w_avg"}
    parts = ("weight", "bias", "affine.weight", "affine.bias")
    for side in sides:
        block = f"synthesis.b{side}"
        keys |= {f"{block}.resample_filter", *(f"{block}.torgb.{part}" for part in parts)}
        for name in ("conv1",) if side == 4 else ("conv0", "conv1"):
            keys |= {f"{block}.{name}.{part}" for part in (*parts, "noise_const", "noise_strength", "resample_filter")}
    return keys | {"synthesis.b4.const"}


def test_the_state_dict_comes_back_under_official_names() -> None:
    network = random_network()
    state = network.state_dict()
    assert set(state) == official_keys([4, 8, 16], 3)
    assert state["synthesis.b8.conv0.noise_strength"].shape == ()
    assert state["synthesis.b8.conv0.affine.weight"].shape == (8, 16)
    assert torch.equal(StyleGAN2(4, 8, (8, 8)).state_dict()["synthesis.b8.conv0.affine.bias"], torch.ones(8))
    z = torch.randn(2, 12)
    for kept in (state, {key: value for key, value in state.items() if "resample_filter" not in key}):
        again = stylegan2_from_state(kept)
        assert again is not None
        assert (again.z_dim, again.resolution, again.training) == (12, 16, False)
        assert torch.equal(again(z), network(z))
        assert not again(z).requires_grad
    half = stylegan2_from_state({key: value.half() for key, value in state.items()})
    assert half is not None
    torch.testing.assert_close(half(z), network(z), rtol=0.05, atol=0.05)
    smallest = stylegan2_from_state(random_network((4,)).state_dict())
    assert smallest is not None
    assert smallest(z).shape == (2, 3, 4, 4)


def test_the_filter_is_the_files_own() -> None:
    network = random_network()
    state = dict(network.state_dict())
    state["synthesis.b8.conv0.resample_filter"] = torch.rand(4, 4)
    other = stylegan2_from_state(state)
    assert other is not None
    assert not torch.allclose(other(torch.ones(1, 12)), network(torch.ones(1, 12)))


@pytest.mark.parametrize("keys", [(), ("main.0.weight",), ("mapping.fc0.weight",), ("synthesis.b4.const", "style.1")])
def test_other_networks_are_none_of_ours(keys: tuple[str, ...]) -> None:
    assert stylegan2_from_state({key: torch.zeros(2) for key in keys}) is None


def drop(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def put(key: str, value: Tensor) -> Callable[[State], object]:
    return lambda state: state.__setitem__(key, value)


def drop_all(prefix: str) -> Callable[[State], object]:
    return lambda state: [state.pop(key) for key in list(state) if key.startswith(prefix)]


REFUSED = {
    "conditional": (put("mapping.embed.weight", torch.zeros(16, 2)), r"conditional .*'mapping.embed.weight'"),
    "no first layer": (drop("mapping.fc0.weight"), "'mapping.fc0.weight' is missing"),
    "a layer half there": (drop("mapping.fc1.weight"), "'mapping.fc1.weight' is missing"),
    "a layer left out": (drop_all("mapping.fc1."), "'mapping.fc1.weight' is missing"),
    "no average": (drop("mapping.w_avg"), "'mapping.w_avg' is missing"),
    "StyleGAN3": (
        lambda state: [drop_all("synthesis.b")(state), put("synthesis.input.weight", torch.zeros(1))(state)],
        "'synthesis.b4.const' is missing",
    ),
    "a block left out": (drop_all("synthesis.b8."), r"'synthesis.b8.conv1.weight' is missing"),
    "no noise": (drop("synthesis.b8.conv0.noise_const"), "'synthesis.b8.conv0.noise_const' is missing"),
    "only the last picture": (drop_all("synthesis.b4.torgb"), "'synthesis.b4.torgb.weight' is missing"),
    "residual": (put("synthesis.b8.skip.weight", torch.zeros(1)), "'synthesis.b8.skip.weight' doesn't belong"),
    "grey": (
        put("synthesis.b4.torgb.weight", torch.zeros(1, 8, 1, 1)),
        r"'synthesis.b4.torgb.weight' has the shape \[1, 8, 1, 1\] instead of \[3, 8, 1, 1\]",
    ),
    "wide mapping": (put("mapping.fc1.weight", torch.zeros(20, 16)), r"'mapping.fc1.weight' has the shape \[20, 16\]"),
    "flat": (put("mapping.fc0.weight", torch.zeros(3)), r"'mapping.fc0.weight' has the shape \[3\] instead of 2 sizes"),
    "empty": (put("mapping.fc0.weight", torch.zeros(16, 0)), r"'mapping.fc0.weight' has the shape \[16, 0\]"),
    "long filter": (
        put("synthesis.b8.conv0.resample_filter", torch.zeros(12)),
        r"'synthesis.b8.conv0.resample_filter' has the shape \[12\] instead of \[4, 4\]",
    ),
    "not a number": (put("mapping.w_avg", torch.full([16], torch.nan)), "'mapping.w_avg' holds something else"),
    "integers": (put("mapping.w_avg", torch.zeros(16, dtype=torch.int64)), "'mapping.w_avg' holds something else"),
    "endless": (
        lambda state: state.update({f"synthesis.b{side}.x": torch.zeros(1) for side in range(99)}),
        "blocks; more than 10",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(name: str) -> None:
    change, message = REFUSED[name]
    state = dict(random_network().state_dict())
    change(state)
    with pytest.raises(BitfaceError, match=message) as failure:
        stylegan2_from_state(state)
    assert "\n" not in str(failure.value)
