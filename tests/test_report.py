"""What the report page must never do: name what was forgotten, reach for a network, or hide a failed check."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from expunge.corpus.catalog import Catalog
from expunge.evaluation.settings import GateParams
from expunge.models.thumbnails import thumbnails
from expunge.project.files import read_json, write_json
from expunge.report.pictures import SIZE
from expunge.steps.report import report
from fake_release import SECRET_CAPTION, SECRET_IDS, make_project, params_of


def built(root, release="r001", **kinds):
    """The text of the report page of a made-up project."""
    paths = make_project(root, **kinds)
    report(paths, params_of(root), release)
    return paths.release(release).page.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """What a reader sees, without markup."""
    body = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


class Tags(HTMLParser):
    """All start tags with their attributes, and whether every opened element was closed."""

    VOID = frozenset({"wbr", "meta", "img", "source", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    return parser.found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return built(tmp_path_factory.mktemp("passed"))


def test_page_names_nothing_that_was_forgotten(page):
    assert "SECRET" not in page
    assert SECRET_CAPTION not in page
    assert not any(sample_id in page for sample_id in SECRET_IDS)


def test_page_shows_pictures_of_what_stays_and_never_a_forgotten_one(tmp_path):
    paths = make_project(tmp_path)
    nearest = pq.read_table(paths.release("r001").nearest).to_pylist()
    leaked = [row | {"place": 2, "sample_id": SECRET_IDS[0]} for row in nearest]
    pq.write_table(pa.Table.from_pylist(nearest + leaked), paths.release("r001").nearest)
    report(paths, params_of(tmp_path), "r001")
    page = paths.release("r001").page.read_text(encoding="utf-8")
    shown = {base64.b64decode(found) for found in re.findall(r"image/png;base64,([A-Za-z0-9+/=]+)", page)}
    catalog = Catalog(paths.catalog)
    assert shown == {thumbnails(catalog, {"1F604"}, SIZE)["1F604"]}
    assert thumbnails(catalog, {SECRET_IDS[0]}, SIZE)[SECRET_IDS[0]] not in shown


def test_page_shows_no_selector_and_no_note_of_a_request(page):
    assert "req-0001" in page
    assert "letter of a person" not in page


def test_page_needs_no_network(page):
    for tag, attributes in tags_of(page):
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "srcset", "href", "action", "style"):
            assert "//" not in (attributes.get(name) or "").partition(";base64,")[0]
    own = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "@import" not in own
    assert "url(" not in own
    assert "default-src 'none'" in page


def test_no_script_runs_but_those_whose_hashes_the_page_names(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    (allowed,) = (part.split()[1:] for part in policy.split(";") if part.strip().startswith("script-src"))
    running = re.findall(r'<script type="module">(.*?)</script>', page, re.S)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert allowed == [f"'sha256-{digest}'" for digest in digests]
    kinds = {attributes.get("type") for tag, attributes in tags_of(page) if tag == "script"}
    assert kinds == {"module", "application/json"}


def test_page_is_well_formed_and_describes_every_figure(page):
    drawings = [attributes for tag, attributes in tags_of(page) if tag == "svg"]
    assert len(drawings) == 9
    assert all(len(attributes["aria-label"]) > 30 for attributes in drawings)
    assert page.count("<summary>As a table: ") == 5
    assert all(attributes.get("alt") for tag, attributes in tags_of(page) if tag == "img")
    heads = [attributes for tag, attributes in tags_of(page) if tag == "th"]
    assert all(attributes.get("scope") for attributes in heads)


def test_page_says_the_verdict_first(page):
    text = words_of(page.split("<main>")[1])
    assert text.strip().startswith(
        "✓ Passed No measured figure tells this release from a model retrained without the data."
    )


def test_page_carries_digests_credit_and_the_commands_to_check_them(page, tmp_path):
    from expunge.project.files import sha256_file

    paths = make_project(tmp_path)
    assert sha256_file(paths.release("r001").model / "model.safetensors") in page
    assert "expunge trace r001" in page
    assert "CC BY-SA 4.0" in page
    assert "OpenMoji" in page


def test_failing_gate_says_which_check_failed_by_how_much(tmp_path):
    text = words_of(built(tmp_path, passed=False).split('class="tiles"')[0])
    assert "✕ Failed" in text
    assert "This release must not be used: 1 of 5 checks failed." in text
    assert "Not met: Look-alikes still find their captions" in text
    assert "It lies 0.4 spreads out, and 0.1 are allowed" in text
    assert "expunge repair --yes" in text
    assert "expunge promote" not in text
    assert "Forgotten pairs look like" not in text


def test_without_gold_the_page_says_that_it_compares_with_an_estimate(tmp_path):
    text = words_of(built(tmp_path, gold=False))
    assert "the verdict is by estimate" in text
    assert "expect a similarity of 0.42" in text
    assert "Retrained" not in text
    assert "faster than retraining" not in text


def test_what_took_longer_than_retraining_is_called_slower(tmp_path):
    paths = make_project(tmp_path)
    metrics = read_json(paths.release("r001").metrics)
    metrics["cost"] |= {"unlearn_seconds": 400.0, "retrain_seconds": 100.0}
    write_json(paths.release("r001").metrics, metrics)
    report(paths, params_of(tmp_path), "r001")
    text = words_of(paths.release("r001").page.read_text(encoding="utf-8"))
    assert "4.0× slower than retraining" in text
    assert "faster" not in text


@pytest.mark.parametrize(("value", "said"), [(0.02, "would have been met"), (4.0, "these checks would have failed")])
def test_a_loosened_gate_leaves_its_mark_on_the_first_screen_and_in_its_section(tmp_path, value, said):
    paths = make_project(tmp_path)
    metrics = read_json(paths.release("r001").metrics)
    metrics["gate"]["checks"][0] |= {"value": value, "limit": 9.0}
    write_json(paths.release("r001").metrics, metrics)
    report(paths, params_of(tmp_path, gate=GateParams(spreads=9.0)), "r001")
    page = paths.release("r001").page.read_text(encoding="utf-8")
    first = words_of(page.split('class="tiles"')[0])
    assert "✓ Passed" not in first
    assert "This release passed a gate that was set looser than the library ships it." in first
    assert "The gate was set looser than the library ships it" in first
    assert re.search("every check would have been met" if value < 3.5 else said, words_of(page))


def test_each_gap_stands_on_the_scale_of_retrainings_with_each_request_on_its_own_line(tmp_path):
    paths = make_project(tmp_path)
    metrics = read_json(paths.release("r001").metrics)
    own = {"name": "forget_similarity.req-0002", "passed": True, "value": 2.0, "limit": 3.5, "meaning": "m"}
    own |= {"measured": 0.1, "reference": 0.2, "beyond": 0.0455}
    metrics["gate"]["checks"].append(own)
    write_json(paths.release("r001").metrics, metrics)
    report(paths, params_of(tmp_path), "r001")
    page = paths.release("r001").page.read_text(encoding="utf-8")
    text = words_of(page)
    assert "req-0002 Forgotten pairs are as similar as pairs never seen" in text
    assert "−2.0 limit 3.5" in text
    assert "One retraining in 22 lies as far out" in text
    assert 'class="dot" style="left:30.0' in page


def test_the_ladder_names_what_failed_what_serves_and_what_was_not_needed(tmp_path):
    paths = make_project(tmp_path)
    metrics = read_json(paths.release("r001").metrics)
    metrics["attempts"] = [
        {"method": "ssd", "passed": False, "diagnosis": "ineffective", "failed": ["membership"]},
        {"method": "cliperase_calibrated", "passed": True},
    ]
    write_json(paths.release("r001").metrics, metrics)
    description = yaml.safe_load(paths.release("r001").description.read_text(encoding="utf-8"))
    description |= {"method": {"name": "ssd"}}
    description["fallbacks"] = [{"name": "cliperase_calibrated"}, {"name": "retrain"}]
    paths.release("r001").description.write_text(yaml.safe_dump(description), encoding="utf-8")
    report(paths, params_of(tmp_path), "r001")
    text = words_of(paths.release("r001").page.read_text(encoding="utf-8"))
    ladder = text.split("The ladder of methods")[1].split("How the gate was set")[0]
    assert "ssd failed: An attacker cannot tell who was in the data" in ladder
    assert "cliperase_calibrated serves" in ladder
    assert "retrain was not needed" in ladder


def test_a_report_of_a_thousand_pairs_stays_under_three_megabytes(page):
    assert len(page.encode()) < 3e6


def test_base_gets_a_page_of_its_own(tmp_path):
    text = words_of(built(tmp_path, release="base"))
    assert "no deletion request has touched it yet" in text
    assert "Trained, variants" in text
    assert "3.5 min" in text


def test_same_inputs_give_the_same_bytes(tmp_path):
    assert built(tmp_path / "one", gold=False) == built(tmp_path / "two", gold=False)


def test_hostile_names_are_shown_as_text(tmp_path):
    paths = make_project(tmp_path)
    manifest = paths.catalog / "catalog.json"
    write_json(manifest, read_json(manifest) | {"credit": "<script>alert(1)</script>"})
    metrics = read_json(paths.release("r001").metrics)
    metrics["gate"]["checks"][0]["meaning"] = "<img src=http://example.com/x>"
    write_json(paths.release("r001").metrics, metrics)
    report(paths, params_of(tmp_path), "r001")
    page = paths.release("r001").page.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<img src=http" not in page


def test_a_figure_of_an_earlier_run_does_not_stay(tmp_path):
    paths = make_project(tmp_path)
    report(paths, params_of(tmp_path), "r001")
    paths.release("r001").unlearning_curve.unlink()
    paths.release("r001").gold_curve.unlink()
    report(paths, params_of(tmp_path), "r001")
    assert not (paths.release("r001").figures / "curves.svg").exists()
