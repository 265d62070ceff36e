"""The key names that other projects gave the weights of a network, translated into this library's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bitface.errors import BitfaceError

Replacement = str | Callable[[re.Match[str]], str]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """One way to name the weights of a network.

    Attributes:
        title: for messages.
        signature: keys that are there where weights are named like this.
        rules: pattern and replacement, applied to every key one after another.
        completed: the weights under their new names, with what the other project leaves out.
    """

    title: str
    signature: tuple[str, ...]
    rules: tuple[tuple[str, Replacement], ...]
    completed: Callable[[Weights], Weights] = dict

    def fits(self, state: Mapping[str, torch.Tensor]) -> bool:
        return all(key in state for key in self.signature)

    def to_own(self, state: Mapping[str, torch.Tensor]) -> Weights:
        """The same weights under this library's names.

        Raises:
            BitfaceError: two keys would get the same name.
        """
        own = {self._renamed(key): tensor for key, tensor in state.items()}
        if len(own) != len(state):
            raise BitfaceError(f"weights named like {self.title}, but some of them twice")
        return self.completed(own)

    def _renamed(self, key: str) -> str:
        for pattern, replacement in self.rules:
            key = re.sub(pattern, replacement, key)
        return key
