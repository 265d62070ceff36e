"""Ranges, scales and biases against plain recomputation."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitface.errors import BitfaceError
from bitface.graph import from_module, passes
from bitface.quant import BitPlan, LayerBits, calibrate
from bitface.quant.student import Student, build
from support.quantized import Mixed, PreActivation, settle

IMAGES = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(5)).clamp(-1, 1)


def student_of(plan: BitPlan, module: nn.Module | None = None, size: int = 16) -> Student:
    graph = from_module(settle(module or Mixed(), size), size=(size, size)).graph
    return build(passes.fold(graph), plan)


def calibrated(word: str = "w4a4", size: int = 16, module: nn.Module | None = None) -> Student:
    student = student_of(BitPlan.parse(word), module, size)
    calibrate.activation_ranges(student, lambda: iter(IMAGES[..., :size, :size].split(4)), 10)
    calibrate.weight_scales(student)
    return student


def outputs(student: Student, names: list[str], images: Tensor = IMAGES) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    handles = [
        student.graph.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
        for name in names
    ]
    with torch.no_grad():
        student.graph(images)
    for handle in handles:
        handle.remove()
    return seen


def test_ranges_are_those_of_the_float_network() -> None:
    student = student_of(BitPlan.parse("w2a8"))
    steps: list[tuple[int, int]] = []
    calibrate.activation_ranges(student, lambda: iter(IMAGES.split(4)), 10, "minmax", lambda *step: steps.append(step))
    student.enable(False)
    names = list(student.activation_quantizers)
    for name, value in outputs(student, names).items():
        quantizer = student.activation_quantizers[name]
        bound = value.abs().max().item() if quantizer.signed else value.max().item()
        assert quantizer.scale.item() == pytest.approx(bound / quantizer.limits[1], rel=0.01), name
    assert steps == [(4, 10), (8, 10), (10, 10)]


def test_outputs_before_a_prelu_and_the_embedding_are_those_of_the_student() -> None:
    student = calibrated("w2a4")
    prelus = calibrate.output_ranges(student, lambda: iter(IMAGES.split(4)), 10, "minmax")
    assert set(prelus) == {"stem.0", "deep.0", "fc"}
    for name, value in outputs(student, list(prelus)).items():
        low, high = value.min().item(), value.max().item()
        assert prelus[name].scale.item() == pytest.approx((high - low) / 255)
        assert prelus[name].zero_point.item() == round(-low / prelus[name].scale.item())


@pytest.mark.parametrize("observer", ["minmax", "moving-average", "percentile", "mse"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_no_number_is_named(value: float, observer: str) -> None:
    student = student_of(BitPlan.parse("w8a8"))
    with torch.no_grad():
        student.graph.get_submodule("wide.0").bias[3] = value
    with pytest.raises(BitfaceError, match="'pool_a8' is NaN or infinite"):
        calibrate.activation_ranges(student, lambda: iter([IMAGES]), 10, observer)
    assert all(quantizer.enabled for quantizer in student.activation_quantizers.values())


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_scales_are_the_best_of_the_grid(bits: int, symmetric: bool, per_channel: bool) -> None:
    plan = BitPlan(LayerBits(bits, 8), None, None, weights_symmetric=symmetric, weights_per_channel=per_channel)
    student = student_of(plan)
    calibrate.weight_scales(student)
    lowest, highest = -(2 ** (bits - 1)) + (bits == 8), 2 ** (bits - 1) - 1
    for layer in student.quantized_layers().values():
        weight = layer.weight.detach().double().numpy()
        rows = weight.reshape(len(weight) if per_channel else 1, -1)
        found = layer.quantized_weight().detach().double().numpy().reshape(rows.shape)
        for row, mine in zip(rows, found, strict=True):
            errors = []
            for share in np.linspace(0.3, 1, 71):
                low, high = min(row.min(), 0) * share, max(row.max(), 0) * share
                scale = max(low / lowest, high / highest) if symmetric else (high - low) / (highest - lowest)
                zero = 0 if symmetric else np.clip(np.rint(lowest - low / scale), lowest, highest)
                integers = np.clip(np.rint(row / scale) + zero, lowest, highest)
                errors.append((((integers - zero) * scale - row) ** 2).sum())
            assert ((mine - row) ** 2).sum() == pytest.approx(min(errors), rel=1e-4)


def test_without_a_search_the_weights_keep_their_extremes() -> None:
    student = student_of(BitPlan.parse("w4a8"))
    calibrate.weight_scales(student, search=False)
    layer = student.quantized_layers()["wide.0"]
    rows = layer.weight.detach().flatten(1)
    expected = torch.maximum(rows.amax(1) / 7, rows.amin(1) / -8)
    torch.testing.assert_close(layer.weight_quantizer.scale, expected)


def test_biases_are_corrected_layer_by_layer() -> None:
    student, again, reference = calibrated(), calibrated(), calibrated("w8a32")
    reference.enable(False)
    calibrate.correct_biases(student, IMAGES, batch=3)
    for name, layer in again.quantized_layers().items():  # in the order of the network
        error = (outputs(reference, [name])[name] - outputs(again, [name])[name]).double()
        layer.add_to_bias(error.mean([axis for axis in range(error.dim()) if axis != 1]).float())
        found = student.quantized_layers()[name].bias.detach()
        torch.testing.assert_close(found, layer.bias.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("module", "size"), [(Mixed, 16), (PreActivation, 8)])
def test_nothing_is_left_of_the_mean_error(module: type[nn.Module], size: int) -> None:
    student, reference = calibrated(size=size, module=module()), calibrated("w8a32", size, module())
    reference.enable(False)
    images = IMAGES[..., :size, :size]
    names = list(student.quantized_layers())
    before, wanted = outputs(student, names, images), outputs(reference, names, images)
    calibrate.correct_biases(student, images)
    after = outputs(student, names, images)
    for name in names:
        axes = [axis for axis in range(wanted[name].dim()) if axis != 1]
        left, was = ((found[name] - wanted[name]).mean(axes).abs().max() for found in (after, before))
        assert left < 1e-5 * wanted[name].std() < was, name


def test_a_bias_of_a_linear_layer_on_rows_belongs_to_its_last_axis() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.rows, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(16, 5), nn.Linear(20, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.flatten(self.rows(torch.flatten(self.conv(x), 2)), 1))

    student, reference = calibrated("w4a8", 4, Rows()), calibrated("w8a32", 4, Rows())
    reference.enable(False)
    images = IMAGES[..., :4, :4]
    calibrate.correct_biases(student, images)
    left = outputs(student, ["rows"], images)["rows"] - outputs(reference, ["rows"], images)["rows"]
    assert left.mean((0, 1)).abs().max() < 1e-5


def test_a_bias_that_can_not_be_corrected_is_named() -> None:
    student = student_of(BitPlan.parse("w8a32"))
    calibrate.weight_scales(student)
    with torch.no_grad():
        student.graph.get_submodule("wide.0").bias[3] = float("inf")
    with pytest.raises(BitfaceError, match=r"'wide.0' is NaN or infinite"):
        calibrate.correct_biases(student, IMAGES)
