"""Hard forget sets: each search finds the set that was planted, or that trying all sets finds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from expunge.embeddings.gallery import Gallery, match
from expunge.evaluation.membership import embedding_gradients
from expunge.examination import hard_sets
from expunge.project.errors import ExpungeError

pytestmark = pytest.mark.slow


def gallery(count: int, width: int, seed: int, noise: float = 1.0) -> Gallery:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, width, generator=draw)
    texts = images + noise * torch.randn(count, width, generator=draw)
    return Gallery(normalize(images, dim=1), normalize(texts, dim=1), 5.0)


@pytest.mark.parametrize("seed", range(6))
def test_worst_case_is_what_trying_every_set_finds(seed: int) -> None:
    seen, candidates, count, rise = gallery(13, 4, seed), np.arange(1, 12), 3, 2.0
    loss = match(seen).loss.double()[candidates]
    per_tower = zip(embedding_gradients(seen), (seen.images, seen.texts), strict=True)
    maps = [torch.einsum("nd,ne->nde", delta, unit)[candidates].flatten(1) for delta, unit in per_tower]
    gradients = torch.cat(maps, dim=1).double()
    step = rise * count / gradients.square().sum(dim=1).mean()

    def loss_after(rows: tuple[int, ...]) -> float:
        """Of the rows, to first order, after one step of gradient difference."""
        forgotten = torch.zeros(len(candidates), dtype=torch.bool)
        forgotten[list(rows)] = True
        update = -step * (gradients[~forgotten].mean(dim=0) - gradients[forgotten].mean(dim=0))
        return (loss[forgotten] + gradients[forgotten] @ update).sum().item()

    found = hard_sets.worst_case(seen, match(seen).loss, candidates, count, rise)
    assert set(found) <= set(candidates)
    every = sorted(loss_after(rows) for rows in combinations(range(len(candidates)), count))
    reached = loss_after(tuple(np.searchsorted(candidates, found)))
    # Rounding the relaxed weights may miss the very best of the 165 sets, never by much.
    assert reached <= every[3]
    assert reached < every[len(every) // 2] - 1


def test_worst_case_asks_for_more_candidates_than_it_takes() -> None:
    seen = gallery(5, 4, 0)
    with pytest.raises(ExpungeError, match="too few suitable pairs"):
        hard_sets.worst_case(seen, match(seen).loss, np.arange(5), 5)


def test_memorisation_by_similarity_counts_what_captions_do_not_explain() -> None:
    """Pairs that no other caption covers, and that are similar all the same, can only have been learnt by heart."""
    covered = [f"woman running number {number}" for number in range(40)]
    lone = ["pineapple", "xylophone", "zeppelin"]
    unseen = [f"woman running item {number}" for number in range(15)] + [f"qq{chr(97 + n)}vv" for n in range(15)]
    captions = covered + lone + unseen
    images = gallery(73, 16, 0).images
    cosines = torch.tensor([0.9] * 43 + [0.9] * 15 + [0.1] * 15)[:, None]
    across = normalize(
        torch.roll(images, 1, dims=1) - (torch.roll(images, 1, dims=1) * images).sum(1, keepdim=True) * images
    )
    seen = Gallery(images, cosines * images + (1 - cosines**2).sqrt() * across, 1.0)
    candidates, held_out = np.arange(43), np.arange(43, 73)
    score = hard_sets.memorisation_by_similarity(seen, captions, candidates, held_out)
    assert hard_sets.most_memorised(score, candidates, 3).tolist() == [40, 41, 42]
    assert np.isnan(score[43:]).all()


def test_entangled_takes_one_of_each_close_couple_and_leaves_the_other() -> None:
    seen = gallery(40, 16, 0)
    images, texts = seen.images.clone(), seen.texts.clone()
    couples = [(5, 20), (7, 33), (12, 28)]
    for number, (left, right) in enumerate(couples):
        images[right] = normalize(images[left] + 0.01 * (number + 1) * images[right], dim=0)
        texts[right] = texts[left]
    close = Gallery(images, texts, seen.scale)
    found = hard_sets.entangled(close, np.arange(40), 3)
    assert [len({left, right} & set(found.tolist())) for left, right in couples] == [1, 1, 1]
    others = np.setdiff1d(np.arange(40), np.concatenate([found, [0, 1, 2]]))
    assert hard_sets.entanglement_score(close, found, others) > 0
    with pytest.raises(ExpungeError, match="too few suitable pairs"):
        hard_sets.entangled(close, np.arange(40), 30)


def test_entanglement_score_by_hand() -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 20.0, 90.0, 110.0]))
    units = torch.stack([angles.cos(), angles.sin()], dim=1).double()
    within = sum((units[rows] - units[rows].mean(dim=0)).square().sum() / 2 for rows in ([0, 1], [2, 3]))
    between = (units[:2].mean(dim=0) - units[2:].mean(dim=0)).square().sum() / 4
    score = hard_sets.entanglement_score(Gallery(units, units, 1.0), np.array([0, 1]), np.array([2, 3]))
    assert score == pytest.approx((within / between).item())


def test_dominant_colour_ignores_white_and_grey_and_joins_the_reds() -> None:
    pixels = np.full((5, 3, 8, 8), 255, np.uint8)
    for row, colour in enumerate([(250, 20, 30), (250, 30, 20), (20, 40, 240)]):
        pixels[row, :, 2:5, 2:5] = np.array(colour)[:, None, None]
    pixels[3, :, 2:5] = 90
    pixels[4, :, 2:6, 2:6] = np.array((30, 230, 40))[:, None, None]
    pixels[4, :, :2, :2] = np.array((250, 20, 30))[:, None, None]
    assert hard_sets.dominant_colours(pixels).tolist() == [0, 0, 8, hard_sets.COLOURLESS, 4]


def test_same_colour_spans_the_classes() -> None:
    colours = np.array([8, 8, 8, 8, 0, 0, 0, 0, 0, 8, -1])
    classes = ["car"] * 4 + ["bird", "apple", "bird", "drum", "apple", "bird", "drum"]
    rows = np.arange(len(classes))
    assert hard_sets.same_colour(colours, classes, rows, 3).tolist() == [4, 5, 7]
    assert hard_sets.same_colour(colours, classes, rows[:5], 3).tolist() == [0, 1, 2]
    with pytest.raises(ExpungeError, match="too few suitable pairs for a forget set of 6"):
        hard_sets.same_colour(colours, classes, rows, 6)
