"""How integers are written in an ONNX file: what readers of QDQ pairs differ in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OnnxForm:
    """A form of the QDQ pairs; of a float network only its PReLUs. The default has them where the graph has quantizers.

    Attributes:
        signed_activations: False: signed ones are written as uint8, shifted by 128, which changes no value.
        integer_prelu: the reader fuses a PReLU into the layer before it; False: it is written in operators that have
            integer kernels, with a pair after each; see `onnx_prelu`.
        integer_limits: limits of fewer than 8 bits are written as integers, after the rounding, as a float limit would
            keep the layer before it from running in integers; False: as floats before it.
        sums_in_float: the reader leaves the rounding of a pair out where an addition alone reads it: below 8 bits it
            is written as arithmetic in float.
        joins_held_apart: the reader moves the rounding of a pair through a concatenation into the layers before it, and
            computes other numbers then; a LeakyReLU of slope 1, which does nothing, stands between and keeps it.
        integer_bias: the kinds of ONNX nodes whose biases have to be int32 with a scale; those of other integer layers
            are floats, which mean the same in half the bytes.
        integer_slopes: slopes of a PReLU that reads integers are integers of the same type, with one scale.
        batch: the images of every call, for readers of fixed shapes; None: any number.
    """

    signed_activations: bool = True
    integer_prelu: bool = True
    integer_limits: bool = False
    sums_in_float: bool = True
    joins_held_apart: bool = True
    integer_bias: tuple[str, ...] = ()
    integer_slopes: bool = False
    batch: int | None = None
