"""The tensors in files of weights, without ever executing what is in them."""

import contextlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from bitface.backbones import inert_pickle
from bitface.backbones.nests import leaves
from bitface.errors import BitfaceError, one_line
from bitface.limits import MOST_TENSORS, check_content

SUFFIXES = (".pt", ".pth", ".pth.tar", ".ckpt", ".bin", ".safetensors")
_PREFIXES = ("module.", "backbone.", "model.")
_ALONE = "save the network's state_dict() alone, best as .safetensors"


def is_weights_file(path: Path) -> bool:
    """Whether a file is one of weights, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a file, by the keys that lead to it joined by dots, on the CPU.

    Whatever else a checkpoint holds, as the settings of a training, is passed by and not executed.

    Raises:
        BitfaceError: the file can't be read, holds no tensors, or would execute code.
    """
    if not path.is_file():
        raise BitfaceError(f"{path}: no such file; give one that ends in {', '.join(SUFFIXES)}")
    if not is_weights_file(path):
        raise BitfaceError(f"{path}: not a weights file by its name; give one that ends in {', '.join(SUFFIXES)}")
    with open(path, "rb") as file:
        begin = file.read(9)
    # A header's length, and the header: what a file is called, and what it is, differ.
    if path.suffix.lower() == ".safetensors" or begin[8:] == b"{":
        content: Any = _read_safetensors(path)
    else:
        content = _read_pickle(path)
    try:
        tensors = leaves(content, torch.Tensor)
    except ValueError as error:
        raise BitfaceError(f"{path}: {error}; {_ALONE}") from error
    if not tensors or "" in tensors:
        raise BitfaceError(f"{path}: no state dict in it ({describe(content)}); save the network's state_dict() alone")
    if reason := _beyond(tensors):
        raise BitfaceError(f"{path}: {reason}; {_ALONE}")
    return tensors


def load_plain(path: Path) -> Any:
    """What `torch.save` wrote, as far as it is tensors, numbers and plain containers of these.

    Raises:
        BitfaceError: it would unpack far more than the file is large (the message names no file).
        Exception: it holds something else, or is damaged; whatever torch and Python's library raise.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            check_content(sum(info.file_size for info in archive.infolist()), path.stat().st_size)
    with warnings.catch_warnings(), contextlib.nullcontext(path) if zipped else inert_pickle.BoundedFile(path) as file:
        warnings.simplefilter("ignore")  # torch's hints on pickles that it refuses right after
        return torch.load(file, map_location="cpu", weights_only=True)


def _beyond(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """What of tensors would take more memory than the file that they are read from."""
    if len(tensors) > MOST_TENSORS:
        return f"holds {len(tensors):,} tensors, and networks some hundreds"
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            return f"the tensor {name!r} is none of plain numbers"
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            return f"the tensor {name!r} repeats its numbers"
    return None


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
        raise BitfaceError(f"{path}: not a readable safetensors file ({named_line(error)}); save it again") from error


def _read_pickle(path: Path) -> Any:
    try:
        return load_plain(path)
    except BitfaceError as error:
        raise BitfaceError(f"{path}: {error}") from error
    except Exception as error:  # a broken or hostile pickle can raise anything
        if "TorchScript" in str(error):
            raise BitfaceError(
                f"{path}: refused, because it is a TorchScript program and not weights; "
                "save the network's state_dict() alone"
            ) from error
        if not isinstance(error, pickle.UnpicklingError):
            raise BitfaceError(
                f"{path}: not a readable PyTorch file; it is damaged or of another kind, save it again"
            ) from error
    try:
        # It names more than tensors and plain containers, such as the settings of a training.
        return inert_pickle.tensors(path)
    except inert_pickle.Refused as error:
        raise BitfaceError(
            f"{path}: refused, because reading it would execute code that is in the file ({error}); {_ALONE}"
        ) from error
    except Exception as error:
        raise BitfaceError(
            f"{path}: refused, because it is damaged, or a pickle of more than tensors ({named_line(error)}); {_ALONE}"
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


def named_line(error: Exception) -> str:
    """Kind and first line of another library's error."""
    kind, line = type(error).__name__, one_line(error)
    return f"{kind}: {line[:120]}" if line != kind else kind
