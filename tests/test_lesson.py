"""What a lesson draws, and what it costs to draw it from a large corpus."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.models import lesson as lessons
from expunge.models.lesson import Lesson, given
from expunge.models.pairs import Wording
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import epoch_order, possible_captions


def lesson_of(count: int, recipe: TrainParams) -> Lesson:
    ids = [f"s{number}" for number in range(count)]
    captions = [[("en", f"thing {number}")] for number in range(count)]
    wording = Wording(ids, ["thing"] * count, [None] * count, captions)
    return Lesson(wording, given(torch.zeros(count, 2)), recipe, ComputeParams(device="cpu"), seed=3)


def test_a_model_has_to_read_all_captions_of_a_small_corpus_and_of_a_large_one_those_that_are_drawn(
    train_params: TrainParams,
) -> None:
    small, large = lesson_of(40, train_params), lesson_of(400, train_params)
    assert small.captions(5, 8) == possible_captions(small.wording, train_params)
    drawn = {caption for step in range(5) for caption in large.draw(step, 8)[1]}
    assert large.captions(5, 8) == sorted(drawn)
    assert len(drawn) == 40


def test_an_epoch_is_shuffled_once_and_drawn_as_if_it_were_shuffled_at_every_step(
    train_params: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled: list[int] = []

    def counted(*arguments: object) -> np.ndarray:
        shuffled.append(1)
        return epoch_order(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lessons, "epoch_order", counted)
    lesson = lesson_of(20, train_params)
    rows = [lesson.draw(step, 8)[0].tolist() for step in range(6)]
    assert len(shuffled) == 3  # three epochs of two batches each
    orders = [epoch_order(lesson.wording, train_params, np.random.default_rng((3, epoch))) for epoch in range(3)]
    assert rows == [order[start : start + 8].tolist() for order in orders for start in (0, 8)]
