"""What a release is judged by: its models, their views of the catalog, and what it forgets and keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expunge.corpus.catalog import Catalog
from expunge.embeddings.search import load_embeddings
from expunge.embeddings.views import Views
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.project.files import digest_of
from expunge.project.paths import Paths
from expunge.releases.release import Release
from expunge.selection.sets import ForgetRow, RetainRow, read_forget, read_retain
from expunge.settings import Params


@dataclass(frozen=True)
class ReleaseInputs:
    """The files of one release, read.

    Attributes:
        release: its name.
        views: what models see of the whole catalog.
        models: `original` and `unlearned`; `retrained` too where there is a gold standard.
        forget: the release's cumulative forget set.
        stand_ins: where retrained text towers to compare with lie between the ladder and the evaluation; a change of
            anything that they depend on makes it another folder.
    """

    release: str
    views: Views
    models: dict[str, Clip]
    forget: list[ForgetRow]
    retained: list[RetainRow]
    stand_ins: Path


def read_inputs(paths: Paths, params: Params, description: Release, stores: Sequence[str]) -> ReleaseInputs:
    """Read them; a set that was made from another catalog is refused.

    Args:
        stores: releases whose embeddings need not be computed again.

    Raises:
        ExpungeError: a file is missing or damaged, or does not belong to the others.
    """
    where = paths.release(description.release)
    catalog = Catalog(paths.catalog)
    made_from = {"catalog": catalog.digest}
    folders = {"original": paths.release(description.parent).model, "unlearned": where.model}
    if description.gold:
        folders["retrained"] = where.gold
    forget = read_forget(where.forget, made_from)
    device = clip.configure(params.compute)
    models = {name: clip.load(folder, device) for name, folder in folders.items()}
    return ReleaseInputs(
        description.release,
        Views(catalog, [load_embeddings(paths, name) for name in stores], params.embed.batch_size),
        models,
        forget,
        read_retain(where.retain, made_from),
        paths.stand_ins(description.release) / _key(params, folders["original"], catalog, forget),
    )


def _key(params: Params, parent: Path, catalog: Catalog, forget: list[ForgetRow]) -> str:
    """Digest of everything that a retrained text tower depends on."""
    settings = params.model_dump(mode="json", include={"seed", "compute", "model", "train"})
    settings["retrain_text"] = params.unlearn.methods.get("retrain_text")
    without = sorted({row.sample_id for row in forget})
    return digest_of({"parent": clip.model_digest(parent), "catalog": catalog.digest, "without": without, **settings})
