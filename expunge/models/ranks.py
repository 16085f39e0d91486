"""Processes that train one model together, as torchrun starts them: one rank each, and a share of every batch.

Every rank draws the whole batch from the same generators and runs the rows of its share. The embeddings are gathered
with their gradients, so each rank has the loss of the whole batch; BatchNorm takes its statistics over the whole batch;
and DistributedDataParallel averages the gradients. So N ranks compute what one process computes on the same batch, but
for the order of sums. Only the first rank writes files. Outside of torchrun nothing here changes a bit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from expunge.project.errors import ExpungeError

RANK, LOCAL_RANK = "RANK", "LOCAL_RANK"
"""What torchrun tells each process: its number among all, and on this machine."""


def count() -> int:
    """How many ranks train together; 1 outside of torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files; every process outside of torchrun is."""
    return count() == 1 or dist.get_rank() == 0


def started_by_torchrun() -> bool:
    return RANK in os.environ


@contextmanager
def together() -> Iterator[None]:
    """Inside the block this process is one of torchrun's ranks; without torchrun, nothing happens."""
    if not started_by_torchrun():
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def start_torchrun(processes: int, module: str, *arguments: str) -> None:
    """Become torchrun, which starts `processes` ranks of `python -m module` on this machine."""
    here = ("--standalone", f"--nproc-per-node={processes}", "-m", module, *arguments)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", *here])


def share(batch: int) -> slice:
    """The rows of a batch that are this rank's: all of them where it is alone.

    Raises:
        ExpungeError: the ranks cannot have equal shares.
    """
    ranks = count()
    if batch % ranks:
        raise ExpungeError(
            f"A batch of {batch} pairs cannot be shared equally by {ranks} processes; change one of the two."
        )
    size = batch // ranks
    first = dist.get_rank() * size if ranks > 1 else 0
    return slice(first, first + size)


def gathered(rows: Tensor) -> Tensor:
    """The rows of all ranks, [B, D] of this rank's [B / ranks, D], in the order of the batch; gradients flow back."""
    return rows if count() == 1 else _Gathered.apply(rows)


def shared(model: nn.Module, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`loss`, a function that runs `model`; its gradients are averaged over the ranks.

    The weights that are to be trained must be known when this is called.
    """
    if count() == 1:
        return loss
    # Which weights a loss reaches depends on the architecture; those that it does not reach are not waited for.
    return DistributedDataParallel(_Wrapped(model, loss), find_unused_parameters=True, broadcast_buffers=False)


@contextmanager
def whole_batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the block the model's BatchNorm takes its statistics over the rows of all ranks.

    Raises:
        ExpungeError: the network takes statistics of batches in another way.
    """
    found = [module for module in model.modules() if isinstance(module, _BatchNorm)] if count() > 1 else []
    for module in found:
        if type(module) is not nn.BatchNorm2d:
            name = type(module).__name__
            raise ExpungeError(
                f"A network with {name} cannot be trained by several processes; set compute.processes to 1."
            )
    for module in found:
        module.__class__ = _SharedBatchNorm  # the same weights and buffers under another forward pass
    try:
        yield
    finally:
        for module in found:
            module.__class__ = nn.BatchNorm2d


class _Wrapped(nn.Module):
    """A function of a model as a module, which is what DistributedDataParallel takes."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self._function = function

    def forward(self, *arguments: Any) -> Tensor:
        return self._function(*arguments)


class _SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the rows of all ranks; torch's own SyncBatchNorm runs on a GPU only."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return super().forward(inputs)
        values, ranks = inputs.float(), count()
        mean = _Summed.apply(values.mean((0, 2, 3))) / ranks
        centred = values - mean[:, None, None]
        variance = _Summed.apply(centred.square().mean((0, 2, 3))) / ranks
        self._follow(mean.detach(), variance.detach(), ranks * values.numel() // len(mean))
        scaled = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        if self.affine:
            scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(inputs.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, number: int) -> None:
        """Move the running statistics towards those of `number` values a channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        moved = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, moved)
        self.running_var.lerp_(variance * number / (number - 1), moved)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        return whole[share(len(whole))]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total
