"""The search audit: nothing forgotten answers, and it notices when something does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from expunge.embeddings.index import build_index, write_index, write_origin
from expunge.embeddings.search import load_embeddings
from expunge.models.clip import model_digest
from expunge.project.paths import Paths
from expunge.proof.answers import ask
from expunge.selection.sets import read_forget
from project import run

pytestmark = pytest.mark.slow


def test_nothing_forgotten_answers_in_a_release_and_a_vector_put_back_is_noticed(served: Path, tmp_path: Path) -> None:
    answers = ask(Paths(served), "r001")
    assert answers.forgotten > 3
    assert answers.queries > 4 * answers.forgotten
    assert answers.indexed == []
    assert json.loads(run(served, "expunge", "audit", "--json").stdout) == []

    project = tmp_path / "project"
    shutil.copytree(served, project, symlinks=True)
    where = Paths(project).release("r001")
    forgotten = sorted(row.sample_id for row in read_forget(where.forget))[:2]
    store = load_embeddings(Paths(project), "r001")
    vectors = np.concatenate([store.images, store.images[:2]])
    (where.index / "image.faiss").unlink()
    write_index(build_index([*store.ids, *forgotten], vectors, "Flat"), where.index / "image.faiss")
    write_origin(where.index, model_digest(where.model))
    assert ask(Paths(project), "r001").indexed == forgotten
    found = json.loads(run(project, "expunge", "audit", "--json", check=False).stdout)
    assert "2 forgotten samples are still in its index" in [finding["problem"] for finding in found]
