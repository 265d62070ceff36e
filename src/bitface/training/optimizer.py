"""The optimizer of a training, and what changes of its parameters' gradients before a step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bitface import ranks
from bitface.losses import Loss
from bitface.quant.quantizers import Quantizer
from bitface.training.settings import Training


def optimizer_of(model: nn.Module, loss: Loss, training: Training) -> torch.optim.Optimizer:
    """Three groups: weights, everything one-dimensional (never decayed), and the quantizers' own numbers.

    Ranges that the training leaves alone are frozen here, those that learn and those that are watched.
    """
    quantizers = [module for module in model.modules() if isinstance(module, Quantizer)]
    quantizer_parameters = {id(p) for quantizer in quantizers for p in quantizer.parameters(recurse=False)}
    if training.freeze_ranges:
        for quantizer in quantizers:
            quantizer.fixed_range = True
        for parameter in model.parameters():
            if id(parameter) in quantizer_parameters:
                parameter.requires_grad_(False)
    parameters = [p for p in [*model.parameters(), *loss.parameters()] if p.requires_grad]
    weights = [p for p in parameters if id(p) not in quantizer_parameters and p.dim() > 1]
    others = [p for p in parameters if id(p) not in quantizer_parameters and p.dim() <= 1]
    ranges = [p for p in parameters if id(p) in quantizer_parameters]
    groups: list[dict[str, Any]] = [
        {"params": weights, "highest": training.rate, "weight_decay": training.weight_decay},
        {"params": others, "highest": training.rate, "weight_decay": 0.0},
        {"params": ranges, "highest": training.rate * training.quantizer_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=training.rate)


def sum_gradients(model: Iterable[Tensor], loss: Iterable[Tensor], flags: Tensor) -> None:
    """Makes the gradients of all ranks those of the whole batch, in place, in one message.

    Args:
        model: parameters of which each rank has the gradient of its part.
        loss: those of which all ranks have the same; their mean keeps them the same.
        flags: what the ranks tell one another besides, float32; summed too.
    """
    if ranks.count() == 1:
        return
    parts = [p.grad for p in model if p.grad is not None]
    equal = [p.grad.div_(ranks.count()) for p in loss if p.grad is not None]
    message = torch.cat([part.reshape(-1).to(flags.dtype) for part in (*parts, *equal, flags)])
    ranks.reduced(message)
    start = 0
    for part in (*parts, *equal, flags):
        part.copy_(message[start : start + part.numel()].view(part.shape))
        start += part.numel()


def clip(parameters: list[Tensor], split: set[int], largest: float) -> None:
    """Scales all gradients down to a norm of `largest`, in place; of parameters whose `id` is in `split` each rank has
    a part.
    """
    if ranks.count() == 1:
        nn.utils.clip_grad_norm_(parameters, largest)
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = [torch.zeros((), device=gradients[0].device) for _ in range(2)]
    for parameter in parameters:
        if parameter.grad is not None:
            squares[id(parameter) in split] += parameter.grad.float().square().sum()
    norm = (squares[0] + ranks.reduced(squares[1])).sqrt()
    share = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(share)
