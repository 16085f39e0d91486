"""A project that `expunge serve` serves, with a callback endpoint on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from expunge.intake.protocols.identities import learn
from expunge.intake.protocols.office import Office
from expunge.intake.protocols.service import create_app
from expunge.intake.protocols.signing import Seal, open_seal
from expunge.intake.settings import ServeParams
from expunge.project.paths import Paths
from project import tiny_params, write_params
from samples import make_catalog
from senders import (
    ADDRESS,
    NOW,
    Post,
    serve_params,
)


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project of 24 samples: a third of them are s-1's, a third s-2's; s-1 is known as John Doe."""
    write_params(tmp_path, tiny_params(ledger={"seed": None}))
    make_catalog(tmp_path / "data" / "catalog", 24, subjects=("s-1", "s-2", None))
    known = tmp_path.parent / f"{tmp_path.name}.csv"
    known.write_text("subject_id,identity_type,identity_value\ns-1,email,JohnDoe@example.com\n")
    assert learn(Paths(tmp_path), known) == 1
    known.unlink()
    return Paths(tmp_path)


@pytest.fixture
def office(paths: Paths, post: Post) -> Office:
    return Office(paths, ServeParams.model_validate(serve_params(post.origin)), lambda: NOW)


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    return open_seal(Paths(tmp_path_factory.mktemp("seal")), ServeParams(), "example-processor.com")


@pytest.fixture
def client(office: Office, seal: Seal) -> TestClient:
    return TestClient(create_app(office, seal, ADDRESS))
