"""Several processes train one model: what they compute is what one process computes on the same batches."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expunge.models import clip, ranks
from expunge.models.clip import CONFIG
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from project import ROOT, tiny_params, write_params
from samples import make_catalog

TOLERANCE = 1e-3
"""Of losses and embeddings over 16 steps in float32: sums over half batches end in other last bits."""


def trained(root: Path, processes: int, **train: object) -> subprocess.CompletedProcess[str]:
    """Run the step `train` in a project of its own in `root`."""
    make_catalog(root / "data" / "catalog", 64, 32, splits=("train",))
    acknowledge(Paths(root))
    recipe = {"epochs": 4, "batch_size": 16, "text_finish": {"steps": 8, "batch_size": 32}} | train
    params = tiny_params(train=recipe, compute={"device": "cpu", "precision": "fp32", "processes": processes})
    write_params(root, params)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "expunge.steps.train", BASE]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def losses(root: Path) -> torch.Tensor:
    with open(Paths(root).release(BASE).training_curve, encoding="utf-8") as stream:
        return torch.tensor([float(row["loss"]) for row in csv.DictReader(stream)])


def encoded(root: Path) -> torch.Tensor:
    """Embeddings of made-up pictures and a few captions, [B, D]."""
    return _embeddings(clip.load(Paths(root).release(BASE).model))


def untrained(root: Path) -> torch.Tensor:
    return _embeddings(clip.fresh(clip.load(Paths(root).release(BASE).model), 0))


def _embeddings(model: clip.Clip) -> torch.Tensor:
    size = model.image_size
    pictures = torch.randint(0, 256, (16, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return torch.cat([model.encode_images(pictures), model.encode_texts([f"apple number {n}" for n in range(16)])])


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(tmp_path: Path) -> None:
    """Pictures and texts together, through BatchNorm, then the texts alone; gathered over gloo."""
    alone, both = tmp_path / "alone", tmp_path / "both"
    for root, processes in ((alone, 1), (both, 2)):
        done = trained(root, processes)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("train: ") == 1
    assert len(losses(alone)) == 16
    torch.testing.assert_close(losses(both), losses(alone), rtol=TOLERANCE, atol=TOLERANCE)
    assert (alone / "models" / BASE / CONFIG).read_bytes() == (both / "models" / BASE / CONFIG).read_bytes()
    # Not weight by weight: the bias of a key has no part in attention, so Adam steps along the noise of its gradient.
    found = [encoded(root) for root in (both, alone)]
    torch.testing.assert_close(*found, rtol=0, atol=TOLERANCE)
    assert (encoded(alone) - untrained(alone)).abs().max() > 0.1, "the training moved nothing"
    assert not list(Paths(both).checkpoints.glob("*")), "a finished run leaves no checkpoint"


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = trained(tmp_path, 2, batch_size=15)
    assert done.returncode == 1
    assert "A batch of 15 pairs cannot be shared equally by 2 processes" in done.stderr


def test_outside_of_torchrun_a_process_has_the_whole_batch_and_no_function_is_wrapped() -> None:
    rows, model = torch.randn(6, 4), torch.nn.BatchNorm2d(3)
    assert ranks.count() == 1
    assert ranks.is_first()
    assert ranks.share(6) == slice(0, 6)
    assert ranks.gathered(rows) is rows
    assert ranks.shared(model, torch.sum) is torch.sum
    with ranks.whole_batch_statistics(model), ranks.together():
        assert type(model) is torch.nn.BatchNorm2d
        assert ranks.count() == 1
