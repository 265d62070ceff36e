"""What a target's folder says of itself: how it is run, what goes in, what comes out, in Markdown."""

from bitface.graph import Network
from bitface.preprocess import Preprocess
from bitface.targets.registry import TARGETS

_COLOURS = {
    "rgb": "red, green, blue",
    "bgr": "blue, green, red",
    "grey": "one channel of grey, 0.299 R + 0.587 G + 0.114 B",
}


def guide(name: str, network: Network, file: str | None = None, called: str | None = None) -> str:
    """The README of what was written of a network for a target.

    Args:
        file: the name of the target's one file; None: as in a folder of its own.
        called: what functions are called, where somebody has chosen it.
    """
    target = TARGETS[name]
    usage = target.usage(network) if target.usage else "See the documentation of the target."
    if file is not None:
        usage = usage.replace(f"model{target.suffix}", file)
    if called is not None:
        usage = usage.replace(target.named, called).replace(target.named.upper(), called.upper())
    height, width = network.size
    shape = [1, height, width, network.channels] if target.channels_last else [1, network.channels, height, width]
    rounds = target.rounds or "Nothing: it computes what the simulation computes."
    lines = [
        f"# {network.name} for {target.title}",
        "## What goes in",
        f"One aligned face of {height} x {width} pixels as {'uint8' if target.pixels else 'float32'} `{shape}` "
        f"({'channels last' if target.channels_last else 'channels first'}).",
        *(_pixels(network.channels) if target.pixels else _numbers(network.preprocess)),
        "## What comes out",
        f"An embedding of {network.embedding_size} numbers, float32, not normalised. Two faces are compared by the "
        "cosine of their embeddings, with a threshold that was found for this network: `bitface calibrate` finds it, "
        "and the `.bitface` file keeps it. Thresholds of the float network, or of another width, are others.",
        "## How it runs",
        usage,
        "## What it rounds differently",
        rounds,
    ]
    return "\n\n".join(lines) + "\n"


def _numbers(preprocess: Preprocess | None) -> list[str]:
    """How pixels become the input, in numbers."""
    if preprocess is None:
        return ["How its input is normalised isn't known: the network's file doesn't say it."]
    mean, std = (values[: preprocess.channels] for values in (preprocess.mean, preprocess.std))
    factor = tuple(1 / value for value in std)
    return [
        f"Channels: {_COLOURS[preprocess.color]}. Of every pixel (0 to 255): `(pixel - mean) / std` with mean "
        f"{_listed(mean)} and std {_listed(std)}; as a factor, {_listed(factor)}."
    ]


def _pixels(channels: int) -> list[str]:
    """Of a file that preprocesses its image itself."""
    return [f"Channels: {_COLOURS['grey' if channels == 1 else 'rgb']}, as they are, from 0 to 255."]


def _listed(values: tuple[float, ...]) -> str:
    """One number, or one for each channel."""
    numbers = [f"{value:.9g}" for value in values]
    return numbers[0] if len(set(numbers)) == 1 else f"({', '.join(numbers)})"
