"""Run unlearning and evaluation of a release again, from its parent, and compare the outcome with what was certified.

It runs in a folder of its own (`unlearning.again`). On a CPU the weights must be the same bit by bit; that needs the
kind of processor and the torch that made them. On a GPU kernels may add in another order, so there the two models must
agree on every guarded pair: the cosine between the embeddings of one picture or caption under both must not fall below
`GPU_AGREEMENT`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from expunge.evaluation.metrics import read_metrics
from expunge.lineage.account import Comparison
from expunge.lineage.checks import compare, problem
from expunge.lineage.digests import metrics_digest, weights
from expunge.lineage.dvc.locks import relative
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file
from expunge.project.paths import BASE, Paths
from expunge.settings import Params

GPU_AGREEMENT = 0.999

Step = Callable[[Paths, Params, str], None]


def replay(paths: Paths, params: Params, statement: dict[str, Any], measuring: Sequence[Step] = ()) -> list[Comparison]:
    """The checks of one run: the same hyper-parameters as certified, the same model, and the same figures and verdict.

    Args:
        measuring: the steps that embed, measure and judge; without them, weights are compared and figures are not.

    Raises:
        ExpungeError: the release is `base`, its parent was purged, or the step itself fails.
    """
    predicate = statement["predicate"]
    name = predicate["release"]
    if name == BASE:
        raise ExpungeError("The base model was trained, not unlearned; there is nothing to replay.")
    from expunge.models import clip
    from expunge.models.precision import with_precision
    from expunge.releases.chain import load_release, served_method
    from expunge.unlearning.again import unlearned_again

    if params.compute.precision == "auto":
        params = with_precision(params, predicate["method"]["compute"]["precision"])
    with unlearned_again(paths, params, name, served_method(paths, load_release(paths, name))) as again:
        checks = [_recipe_check(params, again, predicate)]
        where, certified = relative(paths, weights(paths, name)), predicate["model"]["after"]
        found = sha256_file(weights(again, name))
        if found != certified and clip.configure(params.compute).type == "cuda":
            checks.append(_agreement(paths, params, again, name))
        else:
            checks.append(compare("model of the replay", where, certified, found))
            if found == certified and measuring:
                checks.append(_figures_check(paths, params, again, name, measuring))
    return checks


def _figures_check(paths: Paths, params: Params, again: Paths, name: str, measuring: Sequence[Step]) -> Comparison:
    """Figures that were edited, or judged under other limits than today's, do not come out again."""
    real, there = paths.release(name), again.release(name)
    for source, link in (
        (real.gold, there.gold),
        (real.gold_training, there.gold_training),
        (real.attempts, there.attempts),
    ):
        if source.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    with contextlib.redirect_stdout(sys.stderr):
        for step in measuring:
            step(again, params, name)
    found, certified = (metrics_digest(read_metrics(place.metrics)) for place in (there, real))
    return compare("figures and verdict of the replay", relative(paths, real.metrics), certified, found)


def _recipe_check(params: Params, again: Paths, predicate: dict[str, Any]) -> Comparison:
    """Other settings in params.yaml than at the time explain another model."""
    used = {"parameters": read_json(again.release(predicate["release"]).unlearning)["parameters"]}
    used |= params.model_dump(mode="json", include={"seed", "compute"})
    other = sorted(key for key, value in used.items() if predicate["method"][key] != value)
    if other:
        return problem("settings of the replay", "params.yaml", f"{', '.join(other)} not as certified")
    return compare("settings of the replay", "params.yaml", "as certified", "as certified")


def _agreement(paths: Paths, params: Params, again: Paths, name: str) -> Comparison:
    from expunge.corpus.catalog import Catalog
    from expunge.models import clip
    from expunge.models.pairs import load_pairs
    from expunge.selection.sets import read_retain

    device = clip.configure(params.compute)
    models = [clip.load(place.release(name).model, device) for place in (paths, again)]
    guarded = {row.sample_id for row in read_retain(paths.release(name).retain)}
    pairs = load_pairs(Catalog(paths.catalog), models[0], guarded)
    images = [model.encode_images(pairs.images(range(len(pairs)))) for model in models]
    texts = [model.encode_texts(pairs.canonical()) for model in models]
    lowest = min(float((left * right).sum(dim=-1).min()) for left, right in (images, texts))
    where = relative(paths, weights(paths, name))
    if lowest < GPU_AGREEMENT:
        return problem(
            "model of the replay", where, f"cosine {lowest:.5f} to the certified model, below {GPU_AGREEMENT}"
        )
    return compare("model of the replay, within the tolerance of a GPU", where, "agrees", "agrees")
