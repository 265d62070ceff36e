"""Turns the fixed quantizers of a calibrated student into ones that learn, and back."""

import torch

from bitface.errors import UsageError
from bitface.quant.plan import BitPlan
from bitface.quant.quantizers import QUANTIZERS, Quantizer
from bitface.quant.student import Student


def check_method(weights: str, activations: str) -> None:
    """Refuses names that aren't of `QUANTIZERS`, with the nearest one, and what can't quantize weights.

    Raises:
        UsageError: the message says what to take instead.
    """
    for word in (weights, activations):
        QUANTIZERS[word]
    if QUANTIZERS[weights].activations_only:
        raise UsageError(f"'{weights}' clips activations; take another one for the weights, as its paper takes dorefa")


def check_plan(plan: BitPlan, weights: str) -> None:
    """Refuses a plan whose weights the named method can't train.

    Raises:
        UsageError: weights of one bit, which have no level in between that a scale could be learned for.
    """
    layer_bits = [plan.bits, plan.first, plan.last, plan.depthwise, *(bits for _, bits in plan.layers)]
    if not QUANTIZERS[weights].one_bit and any(bits and bits.weight == 1 for bits in layer_bits):
        raise UsageError(f"'{weights}' can't train weights of 1 bit; set 'weights: dorefa' in the recipe")


def make_learnable(student: Student, weights: str = "lsq", activations: str = "lsq") -> None:
    """Replaces every quantizer of a student, in place, by one of the named methods with the same numbers.

    Raises:
        UsageError: see `check_method` and `check_plan`; the student is as it was.
    """
    check_method(weights, activations)
    check_plan(student.plan, weights)
    for layer in student.quantized_layers().values():
        layer.weight_quantizer = _like(layer.weight_quantizer, weights, True)
    let_activations_learn(student, activations)


def let_activations_learn(student: Student, method: str = "lsq") -> None:
    """Replaces the quantizers of activations alone, in place, by ones of the named method with the same numbers."""
    for name, quantizer in student.activation_quantizers.items():
        _put(student, name, _like(quantizer, method, False))


def settle(student: Student) -> None:
    """Fixes what was learned, in place: weights as their quantizers bend them, and uniform quantizers."""
    for layer in student.quantized_layers().values():
        with torch.no_grad():
            layer.quantized_weight()  # ranges that follow the weights are those of the weights as they are now
            layer.weight.copy_(layer.weight_quantizer.transform(layer.weight))
        layer.weight_quantizer = layer.weight_quantizer.settled()
    for name, quantizer in student.activation_quantizers.items():
        _put(student, name, quantizer.settled())


def _like(quantizer: Quantizer, method: str, weights: bool) -> Quantizer:
    result = QUANTIZERS[method](
        quantizer.bits, quantizer.signed, quantizer.symmetric, quantizer.channels, quantizer.narrow
    )
    result.weights = weights
    result.set_numbers(quantizer.scale, quantizer.zero_point)
    return result


def _put(student: Student, name: str, quantizer: Quantizer) -> None:
    holder, _, leaf = name.rpartition(".")
    setattr(student.graph.get_submodule(holder), leaf, quantizer)
    student.activation_quantizers[name] = quantizer
