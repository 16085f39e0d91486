"""A short run of the hostile campaigns: nothing that a stranger writes ends in a traceback or a hang."""

from __future__ import annotations

import pytest

from bench.hostile.parsers import parsers

pytestmark = pytest.mark.slow


def test_every_parser_answers_or_refuses() -> None:
    rows = parsers(tries=60, seed=1)
    assert [(row.what, row.failed) for row in rows if row.failed] == []
