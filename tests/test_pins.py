"""The upper bounds in pyproject.toml: these fail first when one is lifted.

A newer fastapi lets no Prefect server start or makes it refuse half of the listings; SQLAlchemy 2.1 crashes the
scheduler, so that no schedule ever fires.
"""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement

from project import ROOT

pytestmark = pytest.mark.slow


def test_the_prefect_server_application_can_be_built() -> None:
    from prefect.server.api.server import create_app

    assert create_app(ephemeral=True).title


def test_deployments_can_be_listed() -> None:
    import asyncio

    from prefect import get_client
    from prefect.testing.utilities import prefect_test_harness

    async def deployments() -> list:
        async with get_client() as client:
            return await client.read_deployments()

    with prefect_test_harness(server_startup_timeout=120):
        assert asyncio.run(deployments()) == []


def test_sqlalchemy_is_below_the_version_on_which_no_schedule_fires() -> None:
    """On 2.1 Prefect's scheduler dies of `Can't evaluate bulk DML statement`, and only the server's log says so."""
    import sqlalchemy

    assert sqlalchemy.__version__.startswith("2.0.")


@pytest.mark.parametrize("name", ["fastapi", "sqlalchemy", "prefect"])
def test_the_bound_is_written_down(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [Requirement(line) for line in project["dependencies"] if Requirement(line).name == name]
    assert any(clause.operator in ("<", "==") for clause in found[0].specifier)


def test_every_dependency_has_an_exact_version_in_the_constraints_and_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(pin.url is None and str(pin.specifier).startswith("==") for pin in pins)
    pinned = {pin.name.lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["dev"]]
    missing = {Requirement(line).name.lower().replace("_", "-") for line in wanted} - pinned
    assert not missing
