"""The whole state of a training, or of other long work, in one safetensors file, written atomically."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bitface.errors import BitfaceError, option
from bitface.files import atomic_path

_KEY = "bitface.training"


@dataclass
class Checkpoint:
    """Named groups of tensors (`model`, `best`, `average`, `loss`, `optimizer`) and the numbers beside them.

    `identity` says of what this is the state (network, plan, faces, settings); `step` how many steps are done.
    """

    identity: dict[str, str]
    step: int
    groups: dict[str, dict[str, Tensor]]
    numbers: dict[str, Any]

    def write(self, path: Path) -> None:
        """Raises BitfaceError where it can't be written."""
        tensors = {
            f"{group}/{key}": value.detach().cpu().contiguous().clone()
            for group, values in self.groups.items()
            for key, value in values.items()
        }
        about = json.dumps({"identity": self.identity, "step": self.step, "numbers": self.numbers})
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {_KEY: about})

    @staticmethod
    def read(path: Path, identity: dict[str, str], work: str = "training") -> "Checkpoint":
        """The state at `path`, which must be that of `identity`; `work` is what the message calls it.

        Raises:
            BitfaceError: no checkpoint, a damaged one, or one of something else (what differs is named).
        """
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})[_KEY])
                groups: dict[str, dict[str, Tensor]] = {}
                for name in file.keys():  # noqa: SIM118, no mapping
                    group, _, key = name.partition("/")
                    groups.setdefault(group, {})[key] = file.get_tensor(name)
            state = Checkpoint(about["identity"], int(about["step"]), groups, about["numbers"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise BitfaceError(f"{path}: no readable checkpoint; remove it to begin again") from error
        differing = [key for key in identity if state.identity.get(key) != identity[key]]
        if differing:
            raise BitfaceError(
                f"{path}: the checkpoint is of another {work} (other {', '.join(differing)}); "
                f"give what it was begun with, or another {option('out')}"
            )
        return state


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A module's state, apart from it."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}
