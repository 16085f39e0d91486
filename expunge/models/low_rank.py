"""Low-rank updates of matrices (LoRA, Hu et al. 2022, arXiv 2106.09685): W' = W + up · down, in the end merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """The update of one weight: `up` [M, rank] starts at zero, `down` [rank, N] at random.

    A matrix is [M, N]; a kernel is taken as a matrix of one row an output channel.
    """

    def __init__(self, matrix: Tensor, down: Tensor) -> None:
        """`down` [rank, N] are its first values."""
        super().__init__()
        self.up = nn.Parameter(matrix.new_zeros(len(matrix), len(down)))
        self.down = nn.Parameter(down.to(matrix))

    def forward(self, matrix: Tensor) -> Tensor:
        """The updated matrix."""
        return matrix + (self.up @ self.down).view(matrix.shape)


@contextmanager
def low_rank_updates(model: nn.Module, names: Sequence[str], rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Inside the block each of the matrices `names` has a low-rank update; yields the factors, afterwards merges them.

    Until then `state_dict` holds the untouched matrices and the factors under names of their own, which is what a
    checkpoint of an unfinished run needs.
    """
    generator = torch.Generator().manual_seed(seed)
    owners = [(model.get_submodule(path), name) for path, _, name in (name.rpartition(".") for name in names)]
    for owner, name in owners:
        matrix = getattr(owner, name)
        columns = matrix.flatten(1).shape[1]
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        parametrize.register_parametrization(owner, name, LowRank(matrix, down))
    try:
        yield [factor for update in updates(model).values() for factor in update.parameters()]
    finally:
        for owner, name in owners:
            parametrize.remove_parametrizations(owner, name, leave_parametrized=True)


def updates(model: nn.Module) -> dict[str, LowRank]:
    """Path in the model → update; empty outside `low_rank_updates`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LowRank)}
