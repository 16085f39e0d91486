"""One's own data in other formats goes the same way as a folder of pictures (which `test_wheel.py` follows)."""

from __future__ import annotations

from pathlib import Path

import pytest

from journey import Here, Theirs, karpathy, parquet, walk, webdataset

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("theirs", [webdataset, parquet, karpathy])
def test_from_ones_own_data_to_a_purged_release(
    theirs: Theirs,
    tmp_path: Path,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    walk(tmp_path, theirs, Here(monkeypatch, capfd))
