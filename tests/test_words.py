"""One meaning a word: class names, the glossary, and the schemas of the files that other tools rely on."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic import BaseModel

from expunge.evaluation.metrics import BaseMetrics, ReleaseMetrics, read_metrics
from expunge.project.documents import content_of, parsed, read_document, write_document
from expunge.project.errors import ExpungeError
from expunge.project.files import json_bytes, write_json
from expunge.proof.schemas import DOCUMENTS, schemas
from expunge.releases.registration import Registration
from fake_release import make_project, metrics_of
from project import ROOT


def class_names() -> list[str]:
    """The name of every class at the top of a file of the library."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "expunge").rglob("*.py"))
    return [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]


def test_no_class_name_is_used_twice() -> None:
    assert {name for name, count in Counter(class_names()).items() if count > 1} == set()


def test_every_class_that_the_glossary_explains_exists() -> None:
    _, table = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("## The classes")
    explained = [name for cell in re.findall(r"^\| (`.+?) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)]
    assert len(explained) > 30
    assert set(explained) - set(class_names()) == set()
    assert {name for name, count in Counter(explained).items() if count > 1} == set()


def test_the_schemas_in_the_repository_are_current() -> None:
    folder = ROOT / "docs" / "schemas"
    assert {path.name for path in folder.iterdir()} == set(schemas())
    stale = [name for name, content in schemas().items() if (folder / name).read_bytes() != content]
    assert not stale, "run `python -m expunge.proof.schemas`"


def test_metrics_that_are_read_and_written_again_keep_every_byte(tmp_path: Path) -> None:
    paths = make_project(tmp_path, gold=False)
    for name in ("base", "r001"):
        path = paths.release(name).metrics
        before = path.read_bytes()
        write_document(path, read_metrics(path))
        assert path.read_bytes() == before
    assert isinstance(read_metrics(paths.release("base").metrics), BaseMetrics)


def test_what_a_file_leaves_out_stays_out_and_null_stays_null() -> None:
    content = metrics_of("r001", "base", ["req-0001"], gold=False, passed=True)
    del content["models"]["original"]["mia_auc"]
    found = content_of(ReleaseMetrics.model_validate(content))
    assert "mia_auc" not in found["models"]["original"]
    assert found["models"]["retrained"] is None
    assert json_bytes(found) == json_bytes(content)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda content: content.pop("gate"), "gate: field required"),
        (lambda content: content.update(colour="red"), "colour: extra"),
        (lambda content: content["models"]["unlearned"]["forget"].update(count="SECRET"), "count: input should be"),
    ],
    ids=["a key is missing", "a key is foreign", "a value is of another type"],
)
def test_damaged_metrics_are_named_in_one_sentence_without_their_values(tmp_path: Path, damage, named: str) -> None:
    content = metrics_of("r001", "base", ["req-0001"], gold=True, passed=True)
    damage(content)
    write_json(tmp_path / "metrics.json", content)
    with pytest.raises(ExpungeError) as caught:
        read_metrics(tmp_path / "metrics.json")
    assert named in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "3", '{"release": "r001"}'])
def test_a_foreign_file_in_place_of_a_registration_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "registration.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ExpungeError, match=r"registration\.json is damaged, or another version of Expunge wrote it"):
        read_document(Registration, path)


@pytest.mark.parametrize("name", ["registration", "trace", "certificate", "request-certificate"])
def test_a_schema_demands_every_key_that_its_model_demands(name: str) -> None:
    model = DOCUMENTS[name]
    assert issubclass(model, BaseModel)
    schema = json.loads(schemas()[f"{name}.schema.json"])
    assert schema["additionalProperties"] is False
    with pytest.raises(ExpungeError):
        parsed(model, {}, name)
    demanded = {field.alias or key for key, field in model.model_fields.items() if field.is_required()}
    assert set(schema["required"]) == demanded
