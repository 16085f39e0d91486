"""Unlearning problems on generated samples, and the tiny parents that learnt them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import load_pairs
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import train
from expunge.unlearning.problem import Problem, see
from models import TINY
from samples import make_catalog

COMPUTE = ComputeParams(device="cpu", precision="fp32")
GUARDED = 12


def make_corpus(folder: Path, count: int) -> Catalog:
    """`count` samples, three of four to train on and one to calibrate with."""
    return make_catalog(folder, count, 64, splits=("train", "train", "train", "calibration"))


def make_parent(corpus: Catalog, recipe: TrainParams, without: frozenset[str] = frozenset()) -> Clip:
    """A model trained on what is to be trained on, less `without`."""
    clip.configure(COMPUTE)
    model = clip.create(TINY, 0)
    train(model, load_pairs(corpus, model, corpus.split_ids("train") - without), recipe, COMPUTE, 0)
    return model


def make_problem(
    corpus: Catalog,
    parent: Clip,
    recipe: TrainParams,
    seed: int = 0,
    forget: set[str] | None = None,
    retain: set[str] | None = None,
    from_scratch: Callable[[], tuple[Clip, list]] | None = None,
) -> Problem:
    """A problem on a copy of `parent`: six samples to forget by default, and the next 44 as the retain set."""
    trained = sorted(corpus.split_ids("train"))
    forget = set(trained[:6]) if forget is None else forget
    stays = load_pairs(corpus, parent, set(trained) - forget)
    kept = load_pairs(corpus, parent, set(trained[6:50]) if retain is None else retain)
    return Problem(
        clip=parent.clone(),
        forget=load_pairs(corpus, parent, forget),
        retain=kept,
        is_neighbour=np.arange(len(kept)) < GUARDED,
        held_out=load_pairs(corpus, parent, corpus.split_ids("calibration")),
        remaining=see(parent, stays),
        wording=stays,
        pictures=lambda: stays,
        training=recipe,
        clean_start=lambda seed: clip.create(TINY, seed),
        from_scratch=from_scratch or (lambda: (make_parent(corpus, recipe, frozenset(forget)), [])),
        compute=COMPUTE,
        seed=seed,
    )
