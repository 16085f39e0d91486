"""What the report page must never do: name what was forgotten, reach for a network, or hide a failed check."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from expunge.project.files import read_json, write_json
from expunge.steps.report import report
from fake_release import SECRET_CAPTION, SECRET_IDS, make_project, params_of


def built(root, release="r001", **kinds):
    """The text of the report page of a made-up project."""
    paths = make_project(root, **kinds)
    report(paths, params_of(root), release)
    return paths.release(release).page.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """What a reader sees, without markup."""
    body = re.sub(r"<style>.*?</style>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


class Tags(HTMLParser):
    """All start tags with their attributes, and whether every opened element was closed."""

    VOID = frozenset({"meta", "img", "source", "br", "link"})

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
    figures = [base64.b64decode(found).decode() for found in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)]
    for text in (page, *figures):
        assert "SECRET" not in text
        assert SECRET_CAPTION not in text
        assert not any(sample_id in text for sample_id in SECRET_IDS)
    assert "data:image/png" not in page


def test_page_shows_no_selector_and_no_note_of_a_request(page):
    assert "req-0001" in page
    assert "letter of a person" not in page


def test_page_needs_no_network(page):
    for tag, attributes in tags_of(page):
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "srcset", "href", "action", "style"):
            assert "//" not in (attributes.get(name) or "").partition(";base64,")[0]
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_page_is_well_formed_and_describes_every_figure(page):
    images = [attributes for tag, attributes in tags_of(page) if tag == "img"]
    assert len(images) == 4
    assert all(len(attributes["alt"]) > 30 for attributes in images)
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
    assert "Measured 0.410, allowed 0.100" in text
    assert "Forgotten pairs look like" not in text


def test_without_gold_the_page_says_that_it_compares_with_an_estimate(tmp_path):
    text = words_of(built(tmp_path, gold=False))
    assert "the verdict is by estimate" in text
    assert "expect a similarity of 0.42" in text
    assert "Retrained" not in text
    assert "faster than retraining" not in text


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
    assert "<script" not in page
    assert "<img src=http" not in page


def test_a_figure_of_an_earlier_run_does_not_stay(tmp_path):
    paths = make_project(tmp_path)
    report(paths, params_of(tmp_path), "r001")
    paths.release("r001").unlearning_curve.unlink()
    paths.release("r001").gold_curve.unlink()
    report(paths, params_of(tmp_path), "r001")
    assert not (paths.release("r001").figures / "curves.svg").exists()
