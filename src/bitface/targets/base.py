"""What a target is: an engine or an export format.

Whoever only wants names, such as the command line, needs neither torch nor an engine for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

from bitface.errors import BitfaceError

if TYPE_CHECKING:
    import numpy as np
    from torch.fx import GraphModule

    from bitface.graph import Network


class NoKernel(BitfaceError):
    """A target has nothing that computes an operator of a network: here as on every other machine."""


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


# The graph that computes in torch what a target computes of a graph, with its roundings.
Simulate = Callable[["GraphModule"], "GraphModule"]
# The lines of code that run what `emit` wrote, in Markdown; see `guide`.
Usage = Callable[["Network"], str]
# Under which `emit` finds, among what the file says of itself, the name that was chosen; see `Target.named`.
NAME_KEY = "bitface.name"
# What bitface itself has to know of a file that doesn't say it, for a file beside it.
FACTS_KEY, FACTS_FILE = "bitface.facts", "model.json"
# Likewise the most bytes that it may work in, in digits.
SCRATCH_KEY = "bitface.scratch"
# The SHA-256 of an ONNX file's graph, by which what it says of itself is known to be of this graph.
GRAPH_KEY = "bitface.graph"


@dataclass(frozen=True)
class Unread:
    """A network that is read when somebody needs it: what an engine keeps of its fingerprint may do.

    Attributes:
        name: what messages call it.
        read: gives it as the target holds it.
    """

    name: str
    fingerprint: str
    read: Callable[[], "Network"]


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
        fewer_bits: activations of 2 to 7 bits, which limit the integers of a wider type, too.
        sums: rounds what additions, and other operators on two tensors, read; False: they read floats, and a plan for
            this target leaves them so.
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
    fewer_bits: bool = True
    sums: bool = True
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
                if module.bits not in (8, 16) and not self.fewer_bits:
                    return f"'{name}' rounds to {module.bits} bits, it has activations of 8 alone; use a plan with a8"
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


@dataclass(frozen=True)
class Rule:
    """What a vendor asks of a file.

    Attributes:
        text: the rule in a sentence.
        source: where the vendor says so: a page's address, or document and section.
        broken: is called with the path of what was written; gives what breaks the rule, one line each.
    """

    text: str
    source: str
    broken: Callable[[Path], list[str]]


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
        start_unread: runs a network that nobody has read yet, as it may have kept what it made of it.
        layer_times: measures each layer, by the engine's own counters.
        precisions: of what is left in floating point; the first is the default.
        fixed_batch: the images of every call where the file fixes their number.
        images_at_once: images of a call that are the fastest where many are to be embedded.
        own_threads: a call must come from a thread that does nothing else, even where there is only one at once.
        package: whose version decides how fast and how exact it is, by its name in the package index.
        imports: the module of it that `start` imports, where it isn't installed with bitface itself.
        available: whether what else `start` needs is here, such as a compiler; None: nothing else.
        extra: of bitface that installs it; None: the user installs it.
        simulate: for what it rounds differently. It runs in the place of an engine that isn't here.
        channels_last: the image that it takes is `[1, H, W, channels]`, not `[1, channels, H, W]`; for people, as
            `start` takes the latter.
        pixels: the image that it takes is uint8 in RGB, or grey, whatever the network's own order: the file
            preprocesses it itself; for people, as `start` takes floats.
        named: what functions and files are called in what is written, where somebody may choose another name; empty:
            nothing is.
        usage: how what was written runs where it is shipped.
        rules: the vendor's, that what was written is held against.
    """

    title: str
    holds: Holds = Holds()
    rounds: str | None = None
    suffix: str = ""
    emit: Emit | None = None
    start: Start | None = None
    start_unread: Callable[[Unread, Settings], Run] | None = None
    layer_times: LayerTimes | None = None
    precisions: tuple[str, ...] = ("f32",)
    fixed_batch: int | None = None
    images_at_once: int = 1
    own_threads: bool = False
    package: str | None = None
    imports: str | None = None
    available: Callable[[], bool] | None = None
    extra: str | None = None
    simulate: Simulate | None = None
    channels_last: bool = False
    pixels: bool = False
    named: str = ""
    usage: Usage | None = None
    rules: tuple[Rule, ...] = ()
