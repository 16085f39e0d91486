"""Every further question asked of one model, beside the figures of `measure`: uses, privacy, residue.

Each answer is to be read against the same examination of the gold standard: a model that never saw the data also
names some of the pictures, matches some of the captions and gives something away to an attacker.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from expunge.embeddings.gallery import match, view
from expunge.evaluation import membership, relearning
from expunge.evaluation.measure import Measured, group_metrics
from expunge.evaluation.sets import Sets
from expunge.examination import conditioning, features, few_shot, image_retrieval, old_model, similarity, surrogates
from expunge.examination import distinguishability as traces
from expunge.examination.quantisation import quantised
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.settings import Params

SHOWN = (1, 2, 4)
"""Pairs that are shown to a model again; the recall of the others is an answer of its own."""


@dataclass(frozen=True)
class Subject:
    """A model and what `measure` found out about it."""

    clip: Clip
    measured: Measured


def examine(
    subject: Subject, original: Subject, retrained: Subject | None, pairs: Pairs, sets: Sets, params: Params
) -> dict[str, Any]:
    """All answers for `subject`, a block a question; those that need a gold standard are left out without one,
    and what an image generator is told where no generator reads such a text tower.

    Args:
        original: the parent's model, which the attacker may have kept and whose pictures a generator would paint.
        retrained: the gold standard; `subject` may be the gold standard itself.
        pairs: the whole catalog.
    """
    gallery = subject.measured.gallery
    found: dict[str, Any] = {
        "image_retrieval": {
            name: image_retrieval.precision(gallery.images, pairs.classes, rows) for name, rows in sets.groups.items()
        },
        "features": features.readable(gallery.images, pairs.classes, _attackers(sets), sets.groups, params.seed),
        "few_shot": few_shot.few_shot(gallery.images, pairs.classes, sets.groups["forget"], params.seed),
        "kept_vectors": old_model.kept_vectors(
            original.measured.gallery, gallery, sets.groups["forget"], np.concatenate([sets.guarded, sets.never_seen])
        ),
        "surrogates": surrogates.score(subject.clip, gallery, pairs, sets.members, params.train),
        "membership": {
            signal: asdict(attack)
            for signal, attack in membership.attacks(
                gallery, subject.measured.matches, sets.members, sets.never_seen, params.seed
            ).items()
        },
        "relearning": _relearning(subject, original, pairs, sets, params),
        "int8": _quantised(subject, pairs, sets, params),
    }
    if conditioning.can_read(subject.clip):
        found["conditioning"] = _conditioning(subject, original, pairs, sets)
    if retrained:
        found |= _against_gold(subject, original, retrained, sets, params.seed)
    return found


def _attackers(sets: Sets) -> np.ndarray:
    """Rows on which an attacker fits: he holds the forgotten pictures and labelled ones that stay."""
    return np.concatenate([sets.groups["forget"], sets.groups["neighbours"], sets.groups["retain"]])


def _conditioning(subject: Subject, original: Subject, pairs: Pairs, sets: Sets) -> dict[str, dict[str, float]]:
    retained = sets.guarded
    pictures = original.measured.gallery.images
    states = conditioning.caption_states(subject.clip, pairs.canonical())
    generator = conditioning.fit_generator(states[retained], pictures[retained])
    return {
        name: conditioning.conveyed(generator, states[rows], pictures, pairs.classes, rows)
        for name, rows in sets.groups.items()
        if name in ("forget", "test")
    }


def _relearning(subject: Subject, original: Subject, pairs: Pairs, sets: Sets, params: Params) -> dict[str, Any]:
    seen = original.measured
    target = group_metrics(seen.gallery, seen.matches, seen.named, sets.members)["image_to_text_r1"] / 2
    retained = sets.guarded
    given = (subject.clip, subject.measured.gallery, pairs, sets.members, retained, target)
    settings = (params.evaluate.relearn, params.compute, params.seed)
    shots = relearning.relearn_shots(*given, *settings)
    benign = relearning.benign(subject.clip, subject.measured.gallery, pairs, sets.members, retained, *settings)
    return {
        "steps": relearning.relearn_steps(*given, *settings),
        "shots": {"needed": shots.needed, "recall": shots.recall},
        **{f"shown_{tried}": shots.recall[tried] for tried in SHOWN if tried in shots.recall},
        "benign": benign,
    }


def _quantised(subject: Subject, pairs: Pairs, sets: Sets, params: Params) -> dict[str, dict[str, float]]:
    gallery = view(quantised(subject.clip), pairs, params.embed.batch_size)
    matches, named = match(gallery), subject.measured.named
    figures = {name: group_metrics(gallery, matches, named, rows) for name, rows in sets.groups.items()}
    return {
        name: {key: values[key] for key in ("image_to_text_r1", "text_to_image_r1", "pair_similarity")}
        for name, values in figures.items()
    }


def _against_gold(
    subject: Subject, original: Subject, retrained: Subject, sets: Sets, seed: int
) -> dict[str, dict[str, Any]]:
    groups = {name: sets.groups[name] for name in ("forget", "retain", "test")}
    own, gold = subject.measured.gallery, retrained.measured.gallery
    others = {"never_seen": sets.never_seen, "retained": sets.groups["neighbours"]}
    return {
        "similarity_to_gold": {name: similarity.alignment(own, gold, rows) for name, rows in groups.items()},
        "traces": traces.trace_auc(own, gold, groups),
        "old_model": old_model.compare(
            original.measured, subject.measured, retrained.measured, sets.members, others, seed
        ),
    }
