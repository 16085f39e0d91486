"""The further questions asked of one release: its model beside its parent's and its gold standard."""

from __future__ import annotations

from typing import Any

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import view
from expunge.evaluation.measure import Measured, measure
from expunge.evaluation.sets import Sets, release_sets
from expunge.examination import diffusion
from expunge.examination.examine import Subject, examine
from expunge.examination.hard_sets import entanglement_score
from expunge.examination.scores import scores
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.models.precision import settled
from expunge.project.errors import ExpungeError
from expunge.project.files import rounded
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.releases.chain import load_release, served_method
from expunge.releases.release import Release
from expunge.selection.sets import read_forget, read_retain
from expunge.settings import Params

DIGITS = 6
PROMPTS = 20
"""How many forgotten captions a generator is asked to paint, evenly spread; a painting takes seconds on a GPU."""
IMAGES = 4


def examine_release(paths: Paths, params: Params, release: str, generator: str | None = None) -> dict[str, Any]:
    """All further questions, answered by `original`, `unlearned` and, where there is one, `retrained`.

    Answers are figures; no forgotten caption, picture or id is among them.

    Args:
        generator: folder of a text-to-image pipeline of diffusers that the models' text towers fit into.

    Returns:
        `release`, `parent`, `method`; `models`: the answers of each model; `scores` of the release's model; and
        `entanglement`, how close the forget set lay to what stays (`hard_sets.entanglement_score`).

    Raises:
        ExpungeError: `release` is `base`, does not exist or is not built, its parent was purged, or the generator
            cannot be loaded or reads another text tower.
    """
    params = settled(paths, params)
    if release == BASE:
        raise ExpungeError("The base model has forgotten nothing; name a release, as in `expunge examine r001`.")
    description = load_release(paths, release)
    pipeline = diffusion.load_pipeline(generator, clip.configure(params.compute)) if generator else None
    catalog, where = Catalog(paths.catalog), paths.release(release)
    made_from = {"catalog": catalog.digest}
    forget = read_forget(where.forget, made_from)
    own = {row.sample_id for row in forget if row.release == release}
    sets = release_sets(catalog, own, {row.sample_id for row in forget}, read_retain(where.retain, made_from))
    models = _models(paths, params, description)
    pairs = load_pairs(catalog, models["original"])
    subjects = {name: Subject(model, _measured(model, pairs, sets, params)) for name, model in models.items()}
    original, retrained = subjects["original"], subjects.get("retrained")
    answers: dict[str, dict[str, Any]] = {}
    with progress(f"examine {release}") as report:
        for number, (name, subject) in enumerate(subjects.items(), 1):
            answers[name] = examine(subject, original, retrained, pairs, sets, params)
            if pipeline is not None:
                answers[name]["painted"] = _painted(pipeline, subject.clip, models["original"], pairs, sets, params)
            report(number, len(subjects))
    found = {
        "release": release,
        "parent": description.parent,
        "method": served_method(paths, description).name,
        "entanglement": entanglement_score(original.measured.gallery, sets.groups["forget"], sets.guarded),
        "scores": scores(
            original.measured.metrics,
            subjects["unlearned"].measured.metrics,
            retrained.measured.metrics if retrained else None,
        ),
        "models": answers,
    }
    return rounded(found, DIGITS)


def _measured(model: Clip, pairs: Pairs, sets: Sets, params: Params) -> Measured:
    gallery = view(model, pairs, params.embed.batch_size)
    return measure(model, gallery, pairs.classes, sets, params.evaluate, whole=True)


def _models(paths: Paths, params: Params, description: Release) -> dict[str, Clip]:
    folders = {
        "original": paths.release(description.parent).model,
        "unlearned": paths.release(description.release).model,
    }
    if description.gold:
        folders["retrained"] = paths.release(description.release).gold
    for folder in folders.values():
        if not folder.is_dir():
            raise ExpungeError(
                f"{folder} is gone, perhaps purged, or was never built; without it {description.release} cannot be "
                "examined."
            )
    device = clip.configure(params.compute)
    return {name: clip.load(folder, device) for name, folder in folders.items()}


def _painted(pipeline: Any, model: Clip, detector: Clip, pairs: Pairs, sets: Sets, params: Params) -> dict[str, float]:
    """Share of paintings of forgotten captions in which the parent's model sees the caption's class."""
    forget = sets.groups["forget"]
    chosen = forget[:: max(1, len(forget) // PROMPTS)][:PROMPTS]
    prompts = [(pairs.captions[row][0][1], pairs.classes[row]) for row in chosen]
    diffusion.condition(pipeline, model)
    templates = params.evaluate.zero_shot.templates
    return {"forget": diffusion.hits(pipeline, detector, prompts, pairs.classes, templates, IMAGES, params.seed)}
