"""Arrays larger than memory: what is read from end to end stays out of the process, and nothing is lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expunge.project.scratch import blocks, let_go, scratch, take_rows


def resident() -> int:
    """Pages of this process that come from files, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * 4096


def test_reading_in_blocks_leaves_no_page_of_an_array_in_memory_and_loses_nothing() -> None:
    array = scratch((64, 1 << 20), np.uint8)
    before = resident()
    array[:] = np.arange(64, dtype=np.uint8)[:, None]
    assert resident() - before > 60 << 20
    let_go()
    assert resident() - before < 1 << 20
    seen = 0
    for start, block in blocks(array, 8):
        assert (block == np.arange(start, start + 8)[:, None]).all()
        assert resident() - before < 10 << 20
        seen += len(block)
    assert seen == 64
    assert resident() - before < 1 << 20
    assert np.array_equal(take_rows(array, np.array([3, 60]))[:, 0], [3, 60])
