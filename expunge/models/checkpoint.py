"""Checkpoints that a killed run resumes from, bit by bit.

A checkpoint lives outside the stage's outputs (DVC deletes those before it runs a stage), under a folder named by the
digest of everything the run depends on, so a run never resumes from another run's state. Tensors go to one
safetensors file, the position to its metadata; randomness needs no saving, because every epoch draws from a generator
seeded by (seed, epoch). The folder is removed when the run has finished.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from expunge.models.ranks import is_first
from expunge.project.files import atomic_path, digest_of

FILE = "state.safetensors"


class Checkpoint:
    """The saved state of one run, at `root/<digest of key>`."""

    def __init__(self, root: Path, key: Any) -> None:
        self.folder = Path(root) / digest_of(key)[:32]

    def part(self, name: str) -> Checkpoint:
        """The checkpoint of one stage of the run; it goes when that of the run is cleared."""
        part = Checkpoint(self.folder, None)
        part.folder = self.folder / name
        return part

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, position: dict[str, Any]) -> None:
        """Store weights, optimizer state and `position` (JSON) atomically; of processes that train together, once."""
        if not is_first():
            return
        tensors = {f"model/{name}": value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
        with atomic_path(self.folder / FILE) as partial:
            save_file(tensors, partial, metadata={"position": json.dumps(position)})

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Restore what `save` stored and return the position, or None where there is nothing usable."""
        try:
            with safe_open(self.folder / FILE, framework="pt") as stored:
                position = json.loads(stored.metadata()["position"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
        except (FileNotFoundError, SafetensorError):
            return None
        model.load_state_dict(_part(tensors, "model/"))
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer/").items():
            number, key = name.split("/", 1)
            weight = weights[int(number)]
            # A fused optimizer walks weight and state in memory order, so both must have the same strides.
            same = torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
            state.setdefault(int(number), {})[key] = same
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return position

    def clear(self) -> None:
        """Remove the stored state: the run has finished."""
        if is_first():
            shutil.rmtree(self.folder, ignore_errors=True)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
