"""Losses whose classes lie in parts on the ranks, and their state as a checkpoint keeps it: whole.

So a training goes on with another number of ranks than it began with.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bitface import ranks
from bitface.losses import Loss
from bitface.losses.softmax import Softmax


class SplitHeads:
    """The classes of a loss, in parts where there are several ranks.

    Attributes:
        rows: parameter's name in the loss → how many rows all ranks have of it.
        parameters: `id`s of these parameters.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss, self.rows, self.parameters = loss, dict[str, int](), set[int]()
        for name, module in loss.named_modules():
            if isinstance(module, Softmax) and ranks.count() > 1:
                classes = module.split()
                for leaf, parameter in module.named_parameters(name, recurse=False):
                    self.rows[leaf] = classes
                    self.parameters.add(id(parameter))

    def state(self) -> dict[str, Tensor]:
        """The loss's state, whole; every rank must ask for it."""
        return {key: self._whole(value, self.rows.get(key)) for key, value in self.loss.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes this rank's part of a whole state."""
        self.loss.load_state_dict({key: self._part(value, self.rows.get(key)) for key, value in state.items()})

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """An optimizer's state as named tensors `PARAMETER/KEY`, whole; every rank must ask for it."""
        rows = self._rows_by_index(optimizer)
        result = {}
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                tensor = torch.as_tensor(value)
                result[f"{index}/{key}"] = self._whole(tensor, rows.get(index) if tensor.dim() else None)
        return result

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        """Gives an optimizer over the same parameters this rank's part of what `optimizer_state` gave."""
        rows = self._rows_by_index(optimizer)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition("/")
            own = self._part(value, rows.get(int(index)) if value.dim() else None)
            state.setdefault(int(index), {})[key] = own
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

    def _rows_by_index(self, optimizer: torch.optim.Optimizer) -> dict[int, int]:
        """The place of each split parameter in the optimizer → its rows in all."""
        named: dict[str, nn.Parameter] = dict(self.loss.named_parameters())
        rows = {id(named[name]): count for name, count in self.rows.items()}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return {index: rows[id(p)] for index, p in enumerate(parameters) if id(p) in rows}

    @staticmethod
    def _whole(value: Tensor, rows: int | None) -> Tensor:
        return value if rows is None else ranks.gathered(value.detach(), rows)

    @staticmethod
    def _part(value: Tensor, rows: int | None) -> Tensor:
        return value if rows is None else value[ranks.part(rows)].clone()
