"""What a target is: an engine or an export format.

Whoever only wants names, such as the command line, needs neither torch nor an engine for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    import numpy as np
    from torch.fx import GraphModule

    from bitface.graph import Network

# A float32 batch `[B, 3, H, W]` in, embeddings `[B, D]` out. It may be called from several threads at once, and in a
# process that was forked after it was started.
Run = Callable[["np.ndarray"], "np.ndarray"]
# Writes a network (the graph as it is: with its integers, or in float) and what the file says of itself into an empty
# file or, for formats of several files, into an empty folder.
Emit = Callable[["Network", Mapping[str, str], Path], None]


@dataclass(frozen=True)
class Settings:
    """How a target runs a network.

    Attributes:
        batch: images of a call.
        threads: in all; None: one for each core.
        precision: of what is left in floating point; one of the target's `precisions`.
        streams: how many calls share the threads at the same time.
    """

    batch: int = 1
    threads: int | None = None
    precision: str = "f32"
    streams: int = 1


# Loads a network, or what `emit` wrote, for calls of one size.
Start = Callable[[Union["Network", Path], Settings], Run]
# The mean milliseconds of each named layer on so many threads, and of everything else together.
LayerTimes = Callable[["Network", Iterable[str], int], tuple[dict[str, float], float]]


@dataclass(frozen=True, kw_only=True)
class Holds:
    """What of an integer network a target can express; the rest is refused, never written as something else.

    Attributes:
        weight_bits, activation_bits: the widest integers.
        integer_bits: of activations up to which it computes in integers; wider ones it holds, and computes in float.
        signed, unsigned: kinds of activations.
        zero_points: activations may have one other than 0.
        weight_zero_points: weights may have them.
        operators: those that are computed in integers, by their names in the graph; others are in float.
        prelu: how a PReLU between integers is computed, for people.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    integer_bits: int = 8
    signed: bool = True
    unsigned: bool = True
    zero_points: bool = True
    weight_zero_points: bool = True
    operators: frozenset[str] = frozenset({"Conv", "Linear"})
    prelu: str = "in float"

    def obstacle(self, graph: "GraphModule") -> str | None:
        """What of a graph can't be expressed, where it is and what to do; None: all can."""
        from bitface.graph.integer import INTEGER_LAYERS, QuantizeDequantize

        for name, module in graph.named_modules():
            if isinstance(module, QuantizeDequantize):
                kind = "signed" if module.signed else "unsigned"
                if module.bits > self.activation_bits:
                    return f"'{name}' rounds to {module.bits} bits, the widest are {self.activation_bits}"
                if not (self.signed if module.signed else self.unsigned):
                    return f"'{name}' gives {kind} integers; a plan with other activations avoids them"
                if module.zero_point and not self.zero_points:
                    return f"'{name}' has a zero point; a plan with symmetric activations avoids it"
            elif isinstance(module, INTEGER_LAYERS):
                if module.bits > self.weight_bits:
                    return f"'{name}' has weights of {module.bits} bits, the widest are {self.weight_bits}"
                if module.zero_point is not None and not self.weight_zero_points:
                    return f"'{name}' has weights with zero points; a plan with symmetric weights avoids them"
        return None


@dataclass(frozen=True, kw_only=True)
class Target:
    """An engine or an export format. What is None isn't there: a format may not run here, a simulation isn't written.

    Attributes:
        title: its name for people.
        holds: what it can express.
        rounds: what it rounds differently from the simulation, in a sentence; None: nothing.
        suffix: of the file that it is written as; empty: it is a folder of several files.
        emit: writes it.
        start: runs it here, on this machine's CPU.
        layer_times: measures each layer, by the engine's own counters.
        precisions: of what is left in floating point; the first is the default.
        fixed_batch: the images of every call where the file fixes their number.
        images_at_once: images of a call that are the fastest where many are to be embedded.
        own_threads: a call must come from a thread that does nothing else, even where there is only one at once.
        package: whose version decides how fast and how exact it is.
    """

    title: str
    holds: Holds = Holds()
    rounds: str | None = None
    suffix: str = ""
    emit: Emit | None = None
    start: Start | None = None
    layer_times: LayerTimes | None = None
    precisions: tuple[str, ...] = ("f32",)
    fixed_batch: int | None = None
    images_at_once: int = 1
    own_threads: bool = False
    package: str | None = None
