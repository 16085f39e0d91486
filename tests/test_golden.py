"""Golden figures: what a small pipeline computes today is what it computed when the figures were written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.golden import GOLDEN, figures
from project import ROOT

pytestmark = pytest.mark.slow


def test_the_figures_of_a_small_pipeline_have_not_drifted(served: Path) -> None:
    golden = json.loads((ROOT / GOLDEN).read_text(encoding="utf-8"))["figures"]
    found = figures(served)
    assert found.keys() == golden.keys()
    drifted = {
        name: f"{found[name]:.4f} instead of {one['value']:.4f} ± {one['tolerance']:.4f}"
        for name, one in golden.items()
        if abs(found[name] - one["value"]) > one["tolerance"]
    }
    assert not drifted, "what is computed has changed; where that is meant, run `python -m bench.golden`"
