"""State dicts from files, without ever executing what is in them."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from bitface.errors import BitfaceError

_NESTS = ("state_dict", "model", "model_state_dict", "backbone", "state_dict_backbone", "netG_state_dict")
_PREFIXES = ("module.", "backbone.", "model.")

# What torch's restricted unpickler says when a pickle asks for more than tensors and plain containers.
_REFUSALS = ("Unsupported global", "Unsupported class", "unrecognized function", "Can only ")


def load_state_dict_file(path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict in a `.pt`, `.pth` or `.safetensors` file, on the CPU.

    A dict nested under one of the usual names (`state_dict`, `model`, `backbone`, ...) is taken out, and a
    prefix that all keys share (`module.`, `backbone.`, `model.`) is taken off.

    Raises:
        BitfaceError: the file can't be read, isn't a state dict, or would have to execute code to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise BitfaceError(f"{path}: no such file; give a .pt, .pth or .safetensors file")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif suffix in (".pt", ".pth"):
        content = _read_pickle(path)
    else:
        raise BitfaceError(f"{path}: not a weights file by its name; give a .pt, .pth or .safetensors file")
    content = unnested(content, _NESTS)
    if not is_state_dict(content):
        raise BitfaceError(f"{path}: no state dict in it ({describe(content)}); save the network's state_dict() alone")
    return without_prefixes(dict(content))


def unnested(content: Any, nests: Sequence[str]) -> Any:
    """What lies inside the dictionaries of these names, one in the other at most once for each name."""
    for _ in nests:
        nest = next((name for name in nests if _nested(content, name)), None)
        if nest is None:
            break
        content = content[nest]
    return content


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except Exception as error:  # the parser's errors have no common type
        raise BitfaceError(f"{path}: not a readable safetensors file ({one_line(error)}); save it again") from error


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's hints on pickles that it refuses right after
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile pickle can raise anything
        text = str(error)
        if any(refusal in text for refusal in _REFUSALS):
            raise BitfaceError(
                f"{path}: refused, because reading it would execute code that is in the file; "
                "save the network's state_dict() alone, best as .safetensors"
            ) from error
        if "TorchScript" in text:
            raise BitfaceError(
                f"{path}: refused, because it is a TorchScript program and not weights; "
                "save the network's state_dict() alone"
            ) from error
        if isinstance(error, pickle.UnpicklingError):
            raise BitfaceError(
                f"{path}: refused, because it is damaged or a pickle whose reading would execute code that "
                "is in the file; save the network's state_dict() alone, best as .safetensors"
            ) from error
        raise BitfaceError(
            f"{path}: not a readable PyTorch file; it is damaged or of another kind, save it again"
        ) from error


def _nested(content: Any, name: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(name), Mapping)


def is_state_dict(content: Any) -> bool:
    """A mapping, not empty, from strings to tensors."""
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) for key in content)
        and all(isinstance(value, torch.Tensor) for value in content.values())
    )


def describe(content: Any) -> str:
    """What was found where a state dict was expected, for an error message."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "an empty dict"
    return f"a dict with {', '.join(map(repr, list(content)[:3]))}"


def without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors without the wrapper prefixes that all keys share."""
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def one_line(error: Exception) -> str:
    """Kind and first line of another library's error."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
