"""Retrainings to compare with where no gold standard was trained: text towers, retrained with other seeds.

A gold standard costs a whole training. A text tower retrained from a clean start on what stays, against the original's
image embeddings, costs a tenth of it or less and has never seen a forgotten caption either, so it says what a model
without the data makes of the forgotten pairs, and several say how far such models differ. Its image tower is the
original's: what a forgotten picture left there, this reference cannot show.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path

import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery
from expunge.evaluation.sets import rows_of
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, given
from expunge.models.pairs import read_wording
from expunge.models.settings import LessonParams
from expunge.project.progress import progress
from expunge.project.scratch import take_rows
from expunge.settings import Params
from expunge.unlearning.towers import train_text_tower, with_text_tower


def stand_ins(
    catalog: Catalog, original: Clip, gallery: Gallery, forgotten: Set[str], params: Params, kept: Path | None = None
) -> Iterator[Clip]:
    """`gate.stand_ins` models, one after the other, with seeds that no release uses as its own.

    Args:
        gallery: the original's view of the catalog.
        forgotten: sample ids of this release and its ancestors.
        kept: a folder for models of just these arguments: those that lie there are taken, others are added.
    """
    rows = rows_of(catalog, catalog.split_ids("train") - forgotten)
    wording = read_wording(catalog, rows)
    values = params.unlearn.methods.get("retrain_text", {})
    chosen = LessonParams.model_validate({key: values[key] for key in values if key in LessonParams.model_fields})
    images = torch.from_numpy(take_rows(gallery.images.numpy(), rows))
    for number in range(params.gate.stand_ins):
        folder = kept / str(number) if kept else None
        if folder and folder.is_dir():
            yield clip.load(folder, original.device)
            continue
        seed = params.seed + 1000 + number
        new = with_text_tower(original, clip.create(params.model, seed))
        with progress(f"retrain a text tower to compare with ({number + 1} of {params.gate.stand_ins})") as report:
            lesson = Lesson(wording, given(images), params.train, params.compute, seed)
            train_text_tower(new, lesson, chosen, progress=report)
        if folder:
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            clip.save(replace(new, parts=None), partial)
            partial.rename(folder)
        yield new
