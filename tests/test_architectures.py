"""Every family of open_clip's architectures: built, saved, loaded, trained, unlearned by every method, released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from architectures import ARCHITECTURES, TEXTS, shrunk
from expunge.corpus.catalog import Catalog
from expunge.embeddings.search import load_embeddings, text_scores
from expunge.models import clip
from expunge.models.network import open_clip
from expunge.models.pairs import load_pairs
from expunge.models.settings import ComputeParams, ModelParams, TrainParams
from expunge.models.training import train
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.releases.cut import create_release
from expunge.requests.request import DeletionRequest, IdSelector
from expunge.settings import load_params
from expunge.steps.embed import embed
from expunge.steps.evaluate import evaluate
from expunge.steps.index import index as build_index
from expunge.steps.select import select_sets
from expunge.steps.train import train as train_base
from expunge.unlearning.loop import unlearn
from expunge.unlearning.problem import Problem, see
from expunge.unlearning.registry import parameters_class
from expunge.unlearning.release import unlearn_release
from project import ROOT, lenient_gate, tiny_params, write_params
from samples import make_catalog

pytestmark = pytest.mark.slow

KINDS = ("retrain_text", "cliperase_calibrated", "gs_lora", "slug", "null_space", "text_projection")
"""A rebuild, descents on weights and on low-rank updates, and edits of one layer and of both projections."""

SPLITS = ("train", "calibration", "train", "calibration", "test", "train")
COMPUTE = ComputeParams(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"), 60, 24, splits=("train", "calibration"))


@pytest.fixture(scope="module")
def recipe(train_params: TrainParams) -> TrainParams:
    return train_params.model_copy(update={"epochs": 1, "batch_size": 8})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_model_is_the_same_after_loading_and_for_plain_open_clip(name: str, tmp_path: Path) -> None:
    made = clip.create(shrunk(name, tmp_path / "tokenizer"), 0)
    clip.save(made, tmp_path)
    loaded = clip.load(tmp_path)
    pixels = torch.randint(0, 256, (2, 3, made.image_size, made.image_size), dtype=torch.uint8)
    for own, other in zip(
        *[(model.encode_texts(TEXTS), model.encode_images(pixels)) for model in (made, loaded)], strict=True
    ):
        assert torch.equal(own, other)
        assert own.shape[1] == made.embed_dim
        assert torch.allclose(own.norm(dim=1), torch.ones(len(own)), atol=1e-5)
    assert torch.equal(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS), made.tokenizer(TEXTS))
    if name != "roberta-ViT-B-32":  # open_clip asks the hub for its text tower, wherever the folder lies
        plain, tokens = open_clip.create_model(f"local-dir:{tmp_path}").eval(), made.tokenizer(TEXTS)
        assert torch.equal(plain.encode_text(tokens), loaded.model.encode_text(tokens))


def problem_of(params: ModelParams, corpus: Catalog, recipe: TrainParams) -> Problem:
    clip.configure(COMPUTE)
    model = clip.create(params, 0)
    train(model, load_pairs(corpus, model, corpus.split_ids("train")), recipe, COMPUTE, 0)
    trained = sorted(corpus.split_ids("train"))
    kept = load_pairs(corpus, model, set(trained[4:]))
    return Problem(
        clip=model,
        forget=load_pairs(corpus, model, set(trained[:4])),
        retain=kept,
        is_neighbour=np.arange(len(kept)) < 6,
        held_out=load_pairs(corpus, model, corpus.split_ids("calibration")),
        remaining=see(model, kept),
        wording=kept,
        pictures=lambda: kept,
        training=recipe,
        clean_start=lambda seed: clip.create(params, seed),
        from_scratch=lambda: (clip.create(params, 1), []),
        compute=COMPUTE,
        seed=0,
    )


def few_steps(name: str) -> dict[str, Any]:
    """The method's block of params.yaml with a step or two of small batches."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["unlearn"]["methods"][name]
    few = {"steps": 2, "forget_batch": 4, "retain_batch": 8, "evaluations": 1, "batch_size": 8, "remaining_batch": 4}
    known = parameters_class(name).model_fields
    return values | {key: value for key, value in few.items() if key in known}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_methods_of_every_kind_change_every_architecture_or_refuse_it_at_once(
    name: str, corpus: Catalog, recipe: TrainParams, tmp_path: Path
) -> None:
    params = shrunk(name, tmp_path / "tokenizer")
    problem = problem_of(params, corpus, recipe)
    before = problem.clip.clone()
    for method in KINDS:
        given = replace(problem, clip=before.clone())
        if method == "null_space" and "SigLIP" in name:  # its image tower ends in a block of attention
            with pytest.raises(ExpungeError, match="does not end in a linear projection"):
                unlearn(given, method, few_steps(method))
            continue
        outcome = unlearn(given, method, few_steps(method))
        assert outcome.parameters_changed > 0, method
        assert torch.isfinite(outcome.clip.encode_texts(TEXTS)).all(), method
        if method == "retrain_text":  # nothing of the old text tower is left, and nothing of the image tower is lost
            after = outcome.clip.model.state_dict()
            for key, value in before.model.state_dict().items():
                assert torch.equal(after[key], value) or not key.startswith("visual."), key


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_released(name: str, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "project")
    settings = tiny_params(gate=lenient_gate(), train={"epochs": 1, "batch_size": 8})
    settings["model"] = shrunk(name, tmp_path / "tokenizer").model_dump(mode="json", exclude_none=True)
    settings["evaluate"]["relearn"] = {"max_steps": 1}
    settings["unlearn"]["methods"]["retrain_text"] |= {"steps": 2}
    paths.live.parent.mkdir(parents=True)
    write_params(paths.root, settings)
    params = load_params(paths.params)
    acknowledge(paths)
    rows = make_catalog(paths.catalog, 72, 24, splits=SPLITS).metadata.to_pylist()
    for step in (train_base, embed):
        step(paths, params, BASE)
    birds = [row["sample_id"] for row in rows if row["split"] == "train" and row["class"] == "bird"]
    request = DeletionRequest(
        request_id="req-0001",
        selectors=(IdSelector(ids=tuple(birds)),),
        basis="quality",
        received_at="2026-11-01T00:00:00Z",
        due="2026-12-01",
    )
    create_release(paths, [request], "retrain_text", gold=False, name="r001")
    for step in (select_sets, unlearn_release, embed, build_index, evaluate):
        step(paths, params, "r001")
    assert read_json(paths.release("r001").metrics)["gate"]["passed"]
    assert not set(birds) & set(load_embeddings(paths, "r001").ids)
    assert len(text_scores(paths, "r001", "car number 2")) == 72 - len(birds)
