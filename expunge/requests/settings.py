"""Settings of the ledger."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.project.schema import Block


class LedgerParams(Block):
    """Where deletion requests are kept: an SQLAlchemy URL, and the events a new ledger starts from."""

    url: str = "sqlite:///data/ledger.db"
    seed: str | None = "requests/seed.jsonl"
    drop_folder: str = "data/requests"
    four_eyes: bool = Field(False, description="who approves a request must not be who recorded it")
    warn_days: Annotated[int, Field(ge=0)] = 7
