"""Two models of one project side by side: what changed, class by class, concept by concept and sample by sample.

Only samples that stay are named: whatever any release of the chain has forgotten is left out. Of what was forgotten
there are attackers' scores, which have no names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import view
from expunge.evaluation.measure import Measured, measure
from expunge.evaluation.sets import Sets, column, release_sets, rows_of
from expunge.examination.cka import activations, linear_cka
from expunge.examination.named_models import load_model, method_asked, model_folder
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.releases.chain import chain
from expunge.selection.sets import read_forget
from expunge.settings import Params

CKA_SAMPLES = 256
FOUND = 8
"""Pictures that a query shows of each model."""


@dataclass(frozen=True)
class GroupChange:
    """What became of one class or concept: shares in [0, 1] and mean cosines, of (A, B); `example` is a caption."""

    name: str
    example: str
    count: int
    recall: tuple[float, float]
    named: tuple[float, float]
    similarity: tuple[float, float]


@dataclass(frozen=True)
class Query:
    """What one text finds among the retained samples: (sample id, cosine) of A and of B, best first."""

    text: str
    found: tuple[list[tuple[str, float]], list[tuple[str, float]]]


@dataclass(frozen=True)
class Compared:
    """Two models side by side.

    Attributes:
        names: of A and B.
        ids, captions, classes: of the retained samples, N each.
        similarities: cosine of each pair, [2, N].
        ranks: places of the right caption for each picture, 1 is best, [2, N].
        groups: `class` and `concept` → what became of each.
        layers: layer → linear CKA between A and B.
        members, never_seen: attackers' scores of forgotten training pairs and of pairs never seen, of A and of B.
        queries: search results side by side.
    """

    names: tuple[str, str]
    ids: list[str]
    captions: list[str]
    classes: list[str]
    similarities: np.ndarray
    ranks: np.ndarray
    groups: dict[str, list[GroupChange]]
    layers: dict[str, float]
    members: tuple[np.ndarray, np.ndarray]
    never_seen: tuple[np.ndarray, np.ndarray]
    queries: list[Query]


def compare(paths: Paths, params: Params, names: tuple[str, str], texts: Sequence[str] = ()) -> Compared:
    """Measure both models on the whole catalog and put them side by side.

    Args:
        texts: queries of one's own, before the names of classes.

    Raises:
        ExpungeError: a model is missing or cannot be made, or the two take pictures of different sizes.
    """
    for name in names:
        if method_asked(paths, name) is None:
            model_folder(paths, name)  # before the other is made, which takes time
    device = clip.configure(params.compute)
    models = [load_model(paths, params, name, device) for name in names]
    if models[0].image_size != models[1].image_size:
        raise ExpungeError(f"{names[0]} and {names[1]} take pictures of different sizes, so they cannot be compared.")
    catalog = Catalog(paths.catalog)
    forgotten = _forgotten(paths)
    pairs = load_pairs(catalog, models[0])
    sets = _sets(catalog, forgotten)
    seen: list[Measured] = []
    with progress(f"compare {names[0]} and {names[1]}") as report:
        for model in models:
            gallery = view(model, pairs, params.embed.batch_size)
            seen.append(measure(model, gallery, pairs.classes, sets, params.evaluate, whole=True))
            report(len(seen), 3)
        kept = np.flatnonzero([sample_id not in forgotten for sample_id in catalog.ids])
        layers = _layers(models, pairs, kept)
        report(3, 3)
    captions = pairs.canonical(kept)
    scores = [-one.matches.loss.numpy() for one in seen]
    return Compared(
        names,
        [catalog.ids[row] for row in kept],
        captions,
        [pairs.classes[row] for row in kept],
        np.stack([one.gallery.similarities.numpy()[kept] for one in seen]),
        np.stack([one.matches.image_rank.numpy()[kept] + 1 for one in seen]),
        {name: _groups(column(catalog, name)[kept], captions, seen, kept) for name in ("class", "concept")},
        layers,
        (scores[0][sets.members], scores[1][sets.members]),
        (scores[0][sets.never_seen], scores[1][sets.never_seen]),
        _queries(models, seen, kept, catalog, _asked(texts, pairs, kept)),
    )


def _forgotten(paths: Paths) -> set[str]:
    """Sample ids that any release of the chain has forgotten, as far as their forget sets are there."""
    files = [paths.release(name).forget for name in chain(paths) if name != BASE]
    return {row.sample_id for path in files if path.is_file() for row in read_forget(path)}


def _sets(catalog: Catalog, forgotten: Set[str]) -> Sets:
    """The forgotten pairs and those never seen; where nothing was forgotten yet, the trained pairs."""
    own = set(forgotten) or catalog.split_ids("train")
    found = release_sets(catalog, own, frozenset(forgotten), ())
    groups = {"forget": rows_of(catalog, own), "test": found.groups["test"]}
    return Sets(groups, found.members, found.never_seen)


def _layers(models: Sequence[Clip], pairs: Pairs, kept: np.ndarray) -> dict[str, float]:
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(CKA_SAMPLES, len(kept))).round().astype(int))
    rows = kept[chosen]
    images, texts = pairs.images(rows), pairs.canonical(rows)
    first, second = (activations(model, images, texts) for model in models)
    return {name: linear_cka(first[name], second[name]) for name in first if name in second}


def _groups(
    labels: np.ndarray, captions: Sequence[str], seen: Sequence[Measured], kept: np.ndarray
) -> list[GroupChange]:
    """Of each label, largest change of similarity first."""
    found = []
    for name in sorted(set(labels.tolist())):
        places = np.flatnonzero(labels == name)
        rows = kept[places]
        recall, named, similarity = (
            (float(values[0][rows].mean()), float(values[1][rows].mean()))
            for values in (
                [(one.matches.image_rank == 0).double().numpy() for one in seen],
                [one.named.double().numpy() for one in seen],
                [one.gallery.similarities.numpy() for one in seen],
            )
        )
        found.append(GroupChange(name, captions[places[0]], len(rows), recall, named, similarity))
    return sorted(found, key=lambda one: (-abs(one.similarity[1] - one.similarity[0]), one.name))


def _asked(texts: Sequence[str], pairs: Pairs, kept: np.ndarray) -> list[str]:
    """Queries: one's own, then every class of what stays, spoken."""
    names = sorted({pairs.classes[row] for row in kept})
    return list(dict.fromkeys([*texts, *(name.replace("-", " ").replace("_", " ") for name in names)]))


def _queries(
    models: Sequence[Clip], seen: Sequence[Measured], kept: np.ndarray, catalog: Catalog, texts: Sequence[str]
) -> list[Query]:
    rows = torch.from_numpy(kept)
    answers: list[list[list[tuple[str, float]]]] = []
    for model, one in zip(models, seen, strict=True):
        scores, places = (model.encode_texts(texts) @ one.gallery.images[rows].T).topk(min(FOUND, len(kept)), dim=1)
        answers.append(
            [
                [(catalog.ids[int(kept[place])], round(score, 3)) for place, score in zip(*row, strict=True)]
                for row in zip(places.tolist(), scores.tolist(), strict=True)
            ]
        )
    return [Query(text, (first, second)) for text, first, second in zip(texts, *answers, strict=True)]


def summary(found: Compared) -> Mapping[str, float]:
    """The few figures that a terminal shows."""
    change = found.similarities[1] - found.similarities[0]
    return {
        "samples": float(len(found.ids)),
        "mean_change": float(change.mean()),
        "lost_more_than_0.1": float((change < -0.1).mean()),
        "gained_more_than_0.1": float((change > 0.1).mean()),
        "recall_a": float((found.ranks[0] == 1).mean()),
        "recall_b": float((found.ranks[1] == 1).mean()),
    }
