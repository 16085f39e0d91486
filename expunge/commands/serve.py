"""`expunge serve` and `expunge subjects`: deletion requests in privacy teams' own protocols."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from expunge.commands.common import JsonOption, answer
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.settings import load_params

NEEDED = ("fastapi", "httpx", "joserfc", "limits", "uvicorn")


def serve(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8600) -> None:
    """Take deletion requests by OpenDSR, the Data Rights Protocol and IAB's framework; docs/protocols.md says how."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ExpungeError(f'{", ".join(missing)} is not installed; run `pip install "expunge[serve]"`.')
    from expunge.intake.protocols.service import serve as run

    paths = Paths()
    run(paths, load_params(paths.params).serve, port)


def subjects(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="CSV with the columns subject_id, identity_type, identity_value."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Learn which identities (an e-mail address, a customer's number) belong to the catalog's subjects.

    Only keyed digests are kept. The list replaces the one before; keep the file itself out of the project.
    """
    from expunge.intake.protocols.identities import learn

    count = learn(Paths(), file)
    answer(as_json, f"{count} identities are known now, as keyed digests.", identities=count)
