"""Two models side by side: alignment is as defined, what was forgotten is not named, the page needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.corpus.catalog import Catalog
from expunge.examination.cka import activations, linear_cka
from expunge.examination.compare import Compared, compare, summary
from expunge.examination.named_models import method_asked, model_folder
from expunge.models import clip
from expunge.models.pairs import load_pairs
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.releases.release import MethodChoice
from expunge.report.comparison import render_comparison
from expunge.selection.sets import read_forget
from expunge.settings import load_params
from expunge.unlearning.again import unlearned_again


def test_alignment_ignores_rotation_and_scale_and_falls_with_noise() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=draw)
    turned, _ = torch.linalg.qr(torch.randn(8, 8, generator=draw))
    assert linear_cka(x, 3 * x @ turned + 5) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, torch.randn(400, 8, generator=draw)) < 0.05
    half = linear_cka(x, x + torch.randn(400, 8, generator=draw))
    assert 0.3 < half < 0.9


def test_alignment_equals_the_definition_by_centred_gram_matrices() -> None:
    """HSIC of Kornblith et al. 2019, equation 3, with linear kernels."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(30, 5)), draw.normal(size=(30, 7))
    y[:, :3] += x[:, :3]
    centring = np.eye(30) - 1 / 30

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.trace(one @ one.T @ centring @ other @ other.T @ centring))

    expected = hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5
    assert linear_cka(torch.tensor(x), torch.tensor(y)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def found(released: Path) -> Compared:
    paths = Paths(released)
    return compare(paths, load_params(paths.params), ("base", "r001"), ["a <b>flag</b>"])


def json_of(page: str, name: str) -> dict:
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', page, re.S)[1])


@pytest.mark.slow
def test_towers_that_were_not_touched_are_alike_and_the_others_are_not(found: Compared) -> None:
    image = [value for name, value in found.layers.items() if name.startswith("image")]
    text = [value for name, value in found.layers.items() if name.startswith("text")]
    assert len(image) >= 3
    assert len(text) >= 2
    assert min(image) == pytest.approx(1)
    assert max(text) < 1


@pytest.mark.slow
def test_every_layer_gives_one_row_a_sample(released: Path) -> None:
    paths = Paths(released)
    model = clip.load(paths.release("base").model)
    pairs = load_pairs(Catalog(paths.catalog), model)
    rows = np.arange(7)
    seen = activations(model, pairs.images(rows), pairs.canonical(rows))
    assert {value.shape[0] for value in seen.values()} == {7}
    assert {value.dim() for value in seen.values()} == {2}
    assert torch.allclose(
        torch.nn.functional.normalize(seen["text embedding"]), model.encode_texts(pairs.canonical(rows)), atol=1e-5
    )


@pytest.mark.slow
def test_what_was_forgotten_is_named_nowhere_and_scored_without_names(found: Compared, released: Path) -> None:
    paths = Paths(released)
    forgotten = {row.sample_id for row in read_forget(paths.release("r001").forget)}
    assert forgotten
    assert forgotten.isdisjoint(found.ids)
    assert forgotten.isdisjoint(name for query in found.queries for side in query.found for name, _ in side)
    assert len(found.members[0]) == len(forgotten)
    page = render_comparison(paths, found)
    known = {one["id"] for one in json_of(page, "data")["samples"]}
    assert forgotten.isdisjoint(known | set(json_of(page, "pictures")))


@pytest.mark.slow
def test_classes_concepts_and_samples_agree_with_each_other(found: Compared) -> None:
    assert summary(found)["samples"] == len(found.ids) == found.similarities.shape[1]
    for groups in found.groups.values():
        assert sum(one.count for one in groups) == len(found.ids)
        mean = sum(one.count * one.similarity[1] for one in groups) / len(found.ids)
        assert mean == pytest.approx(found.similarities[1].mean(), abs=1e-5)


@pytest.mark.slow
def test_the_page_needs_no_network_keeps_hostile_text_as_text_and_stays_small(found: Compared, released: Path) -> None:
    page = render_comparison(Paths(released), found)
    assert len(page.encode()) < 5e6
    own = re.sub(r'<script type="module">.*?</script>', "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]', own)
    assert "default-src 'none'; img-src data:;" in own
    assert "<b>flag" not in page
    assert "a <b>flag</b>" in [one["text"] for one in json_of(page, "data")["queries"]]
    assert "a &lt;b&gt;flag&lt;/b&gt;" in page


@pytest.mark.slow
def test_a_model_may_be_a_gold_standard_or_a_folder_and_an_unknown_one_is_named(released: Path, tmp_path: Path) -> None:
    paths = Paths(released)
    assert model_folder(paths, "r001:gold") == paths.release("r001").gold
    shutil.copytree(paths.release("base").model, tmp_path / "other")
    assert model_folder(paths, str(tmp_path / "other")) == tmp_path / "other"
    with pytest.raises(ExpungeError, match="There is no model r009; name a release \\(base, r001\\)"):
        model_folder(paths, "r009")


@pytest.mark.slow
def test_methods_that_served_no_release_are_compared_and_leave_nothing_behind(released: Path, tmp_path: Path) -> None:
    paths = Paths(released)
    params = load_params(paths.params)
    before = {path for path in released.rglob("*") if path.is_file()}
    found = compare(paths, params, ("cliperase_calibrated", "r001:eu_k"))
    served = compare(paths, params, ("r001", "base"))
    assert np.array_equal(found.similarities[0], served.similarities[0])  # what served is not made again
    assert not np.array_equal(found.similarities[1], found.similarities[0])
    assert not np.array_equal(found.similarities[1], served.similarities[1])
    assert len(found.members[1]) == len({row.sample_id for row in read_forget(paths.release("r001").forget)})
    assert {path for path in released.rglob("*") if path.is_file()} == before
    with unlearned_again(paths, params, "r001", MethodChoice(name="eu_k")) as again:
        made = clip.load(again.release("r001").model)
        pairs = load_pairs(Catalog(paths.catalog), made)
        rows = [pairs.ids.index(name) for name in found.ids]
        images, texts = made.encode_images(pairs.images(rows)), made.encode_texts(pairs.canonical(rows))
        assert np.allclose((images * texts).sum(dim=1).numpy(), found.similarities[1], atol=1e-3)
    with pytest.raises(ExpungeError, match="There is no model r002:eu_k"):
        compare(paths, params, ("base", "r002:eu_k"))


def test_a_method_needs_a_release_to_be_tried_on(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.live.parent.mkdir()
    paths.live.write_text("live: base\n")
    with pytest.raises(ExpungeError, match="as in r001:cliperase"):
        method_asked(paths, "cliperase")
    assert method_asked(paths, "base") is None
    assert method_asked(paths, "base:gold") is None
