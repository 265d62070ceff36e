"""BatchNorm and dropout of which each rank sees a part of the batch, as if it were the whole one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface import ranks

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class RankBatchNorm(nn.Module):
    """A BatchNorm with the statistics of all ranks' parts; shares everything with `norm`.

    torch's SyncBatchNorm is the same for GPUs alone.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.norm = norm.weight, norm.bias, [norm]  # in a list: its tensors are no others
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        (norm,) = self.norm
        if not self.training:
            return F.batch_norm(x, norm.running_mean, norm.running_var, self.weight, self.bias, False, 0.0, norm.eps)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.float()
        own = values.new_full((1,), x.numel() // x.shape[1])
        sums = _of_all(torch.cat([values.sum(axes), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _of_all(centred.square().sum(axes)) / count
        with torch.no_grad():
            if norm.running_mean is not None and norm.running_var is not None:
                share = norm.momentum
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked += 1
                share = 1 / float(norm.num_batches_tracked) if share is None else share
                norm.running_mean.lerp_(mean.detach(), share)
                norm.running_var.lerp_(variance.detach() * count / (count - 1).clamp(min=1), share)
        result = centred * (variance + norm.eps).rsqrt().view(shape)
        if self.weight is not None:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)


class RankDropout(nn.Module):
    """A dropout that drops in each rank's part what a single rank would drop there."""

    def __init__(self, p: float, total: int) -> None:
        super().__init__()
        self.p, self.total = p, total

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        whole = torch.ones(self.total, *x.shape[1:], dtype=x.dtype, device=x.device)
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)
        return x * F.dropout(whole, self.p)[ranks.part(self.total)]


@contextmanager
def over_ranks(model: nn.Module, batch: int) -> Iterator[None]:
    """Lets BatchNorms and dropouts see the whole batch, of so many images, while the block runs.

    Their parameters, buffers and names stay what they are.
    """
    before: list[tuple[str, nn.Module]] = []
    for name, module in list(model.named_modules()) if ranks.count() > 1 else ():
        if name and isinstance(module, _NORMS):
            on_gpu = module.weight is not None and module.weight.device.type == "cuda"
            other = (
                nn.SyncBatchNorm.convert_sync_batchnorm(module)
                if on_gpu
                else RankBatchNorm(cast(nn.BatchNorm2d, module))
            )
        elif name and isinstance(module, nn.Dropout) and module.p > 0:
            other = RankDropout(module.p, batch)
        else:
            continue
        _put(model, name, other.train(module.training))
        before.append((name, module))
    try:
        yield
    finally:
        for name, module in before:
            _put(model, name, module)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    holder, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(holder), leaf, module)


def _of_all(x: Tensor) -> Tensor:
    """The sum over all ranks, of which each rank computes something else: gradients are summed, too."""
    return ranks.shared(ranks.summed(x))
