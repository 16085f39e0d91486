"""Attacks on each tower alone, on galleries whose answers are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from expunge.embeddings.gallery import Gallery, view
from expunge.evaluation import relearning
from expunge.evaluation.settings import RelearnParams
from expunge.examination.few_shot import SHOTS, few_shot
from expunge.examination.old_model import kept_vectors
from expunge.models.pairs import load_pairs
from expunge.models.settings import ComputeParams
from models import tiny_clip
from samples import make_catalog

CLASSES, SIZE, WIDTH = 6, 20, 32


def scattered(count: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def images_of_classes(known: set[int]) -> tuple[Tensor, list[str]]:
    """Classes in `known` lie around a centre of their own, the others anywhere."""
    centres, noise = scattered(CLASSES, 1), scattered(CLASSES * SIZE, 2)
    labels = [number // SIZE for number in range(CLASSES * SIZE)]
    pull = torch.tensor([1.0 if label in known else 0.0 for label in labels])
    return normalize(noise + pull[:, None] * centres[labels], dim=1), [f"class {label}" for label in labels]


def test_a_class_that_the_tower_knows_is_found_with_few_pictures_and_one_it_does_not_know_is_not() -> None:
    forgotten = np.arange(SIZE)
    knows, labels = images_of_classes(set(range(CLASSES)))
    forgot, _ = images_of_classes(set(range(1, CLASSES)))
    before, after = few_shot(knows, labels, forgotten, 0), few_shot(forgot, labels, forgotten, 0)
    for shots in SHOTS:
        key = f"shots_{shots}_auc"
        assert before["forget"][key] > 0.8 > 0.65 > after["forget"][key], (before, after)
        assert abs(before["control"][key] - after["control"][key]) < 0.1
    assert before["forget"]["probe_auc"] > after["forget"]["probe_auc"] + 0.1
    assert before["forget"]["shots_5_auc"] > before["forget"]["shots_1_auc"]


def test_without_a_class_that_was_forgotten_for_the_most_part_there_is_nothing_to_learn_again() -> None:
    images, labels = images_of_classes(set())
    assert few_shot(images, labels, np.array([0, 30, 60]), 0) == {}


def test_old_vectors_find_what_a_tower_that_was_left_alone_still_holds() -> None:
    texts = scattered(80, 3)
    old = Gallery(normalize(texts + 0.5 * scattered(80, 4), dim=1), texts, 1.0)
    retrained = scattered(80, 5)
    forgotten, staying = np.arange(20), np.arange(20, 80)
    found = kept_vectors(old, Gallery(old.images, retrained, 1.0), forgotten, staying)
    assert found["old_texts"]["raw"] == found["old_texts"]["aligned"] == 1
    assert found["old_images"]["raw"] < 0.2


def test_a_rotated_tower_is_seen_through_once_it_is_aligned() -> None:
    old = Gallery(scattered(80, 3), scattered(80, 4), 1.0)
    paired = Gallery(old.texts, old.texts, 1.0)
    turn, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(6)))
    new = Gallery(paired.images @ turn, paired.texts, 1.0)
    found = kept_vectors(paired, new, np.arange(20), np.arange(20, 80))
    assert found["old_texts"]["raw"] < 0.2
    assert found["old_texts"]["aligned"] == pytest.approx(1)


def test_benign_fine_tuning_shows_no_forgotten_pair_and_leaves_the_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip()
    pairs = load_pairs(make_catalog(tmp_path, 24), model)
    gallery, forget, retain = view(model, pairs, 16), np.arange(4), np.arange(4, 24)
    shown: list[int] = []
    images = type(pairs).images
    learn = relearning._Pupil.learn

    def spied(pupil: relearning._Pupil, rows: np.ndarray, step: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(type(pairs), "images", lambda self, chosen: shown.extend(chosen) or images(self, chosen))
            learn(pupil, rows, step)

    monkeypatch.setattr(relearning._Pupil, "learn", spied)
    params = RelearnParams(benign_steps=3, learning_rate=1e-2)
    found = relearning.benign(model, gallery, pairs, forget, retain, params, ComputeParams(device="cpu"), 0)
    assert set(shown) <= set(retain.tolist())
    assert shown
    assert found["similarity_before"] != found["similarity_after"]
    assert found["before"] == relearning._recall(model, gallery, pairs, forget, forget)
