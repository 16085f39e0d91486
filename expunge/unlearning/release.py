"""The unlearning of one release, from its files: the same function serves the pipeline and a replay."""

from __future__ import annotations

import numpy as np
import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.search import load_embeddings
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.curves import write_curve
from expunge.models.originals import load_for_training
from expunge.models.pairs import load_pairs, read_wording, rows_of
from expunge.models.precision import settled
from expunge.models.ranks import is_first
from expunge.models.retrain import train_from_scratch
from expunge.models.slices import load_parts
from expunge.models.training import TrainingRow
from expunge.project.costs import measured
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_file, write_json
from expunge.project.paths import Paths
from expunge.project.progress import ProgressReport, progress
from expunge.project.scratch import take_rows
from expunge.releases.chain import load_release
from expunge.releases.release import MethodChoice, Release
from expunge.selection.sets import read_forget, read_retain
from expunge.settings import Params
from expunge.unlearning.calibration import MOST, even_share
from expunge.unlearning.loop import unlearn
from expunge.unlearning.problem import Problem, Seen


def unlearn_release(paths: Paths, params: Params, release: str, method: MethodChoice | None = None) -> None:
    """Make the parent's model forget what `release` says, by `method`; by the one that it names first by default."""
    params, where = settled(paths, params), paths.release(release)
    description = load_release(paths, release)
    chosen = method or description.method
    name, values = chosen.name, method_values(params, release, chosen)
    parent = paths.release(description.parent).model
    checkpoint = Checkpoint(
        paths.checkpoints,
        {
            "method": name,
            "values": values,
            "parent": clip.model_digest(parent),
            "sets": [sha256_file(where.forget), sha256_file(where.retain)],
            **params.model_dump(mode="json", include={"seed", "compute", "model", "train"}),
        },
    )
    with progress(f"unlearn by {name}") as report, measured() as cost:
        problem = build_problem(paths, params, description, report)
        outcome = unlearn(problem, name, values, checkpoint, report)
    if not is_first():
        return
    digest = clip.save(outcome.clip, where.model)
    write_curve(where.unlearning_curve, outcome.curve)
    checkpoint.clear()
    write_json(
        where.unlearning,
        {
            "method": name,
            "parameters": values,
            "seconds": cost.seconds,
            "peak_memory_mb": cost.peak_memory_mb,
            "steps": len(outcome.curve),
            "precision": params.compute.precision,
            "forget": len(problem.forget),
            "retain": len(problem.retain),
            "parameters_changed": outcome.parameters_changed,
        },
    )
    print(f"unlearn: {name}, {len(outcome.curve)} steps in {cost.seconds:.1f} s, model {digest[:12]}")


def method_values(params: Params, release: str, method: MethodChoice) -> dict:
    """The method's block of params.yaml with the release's own overrides, validated.

    Raises:
        ExpungeError: the method is unknown, has no block, or an override is not one of its hyper-parameters.
    """
    from pydantic import ValidationError

    from expunge.project.schema import explain
    from expunge.unlearning import registry

    values = params.unlearn.methods.get(method.name, {}) | method.params
    try:
        return registry.parameters(method.name, values).model_dump(mode="json")
    except ValidationError as error:
        raise ExpungeError(f"Method {method.name} of release {release}: {explain(error)}") from None
    except ValueError as error:
        raise ExpungeError(f"Release {release}: {error}.") from None


def build_problem(paths: Paths, params: Params, release: Release, report: ProgressReport | None = None) -> Problem:
    """The unlearning problem of `release`, read from its files."""
    where = paths.release(release.release)
    catalog = Catalog(paths.catalog)
    device = clip.configure(params.compute)
    model = clip.load(paths.release(release.parent).model, device)
    made_from = {"catalog": catalog.digest}
    rows = read_forget(where.forget, made_from)
    forgotten = {row.sample_id for row in rows}
    retained = read_retain(where.retain, made_from)
    held_out = rows_of(catalog, catalog.split_ids("calibration") - forgotten)
    held_out = held_out[even_share(len(held_out), MOST)]  # no estimate takes more of them
    retain = load_pairs(catalog, model, {row.sample_id for row in retained})
    store = load_embeddings(paths, release.parent)
    stays = catalog.split_ids("train") - forgotten
    positions = np.array([place for place, sample_id in enumerate(store.ids) if sample_id in stays], np.int64)
    wording = read_wording(catalog, [catalog.row_of[store.ids[position]] for position in positions])
    neighbours = {row.sample_id for row in retained if row.role == "neighbours"}

    def from_scratch() -> tuple[Clip, list[TrainingRow]]:
        known = load_parts(paths.release(release.parent).model)
        return train_from_scratch(catalog, params, forgotten, paths.checkpoints, report, known)[:2]

    return Problem(
        clip=model,
        forget=load_pairs(catalog, model, {row.sample_id for row in rows if row.release == release.release}),
        retain=retain,
        is_neighbour=np.array([sample_id in neighbours for sample_id in retain.ids]),
        held_out=load_pairs(catalog, model, {catalog.ids[row] for row in held_out.tolist()}),
        remaining=Seen(
            wording.canonical(),
            torch.from_numpy(take_rows(store.images, positions)),
            torch.from_numpy(take_rows(store.texts, positions)),
        ),
        wording=wording,
        pictures=lambda: load_for_training(catalog, model, set(wording.ids), params.train, params.loading),
        training=params.train,
        clean_start=lambda seed: clip.create(params.model, seed),
        from_scratch=from_scratch,
        compute=params.compute,
        seed=params.seed,
    )
