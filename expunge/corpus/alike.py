"""Near-identical pictures among many, by the perceptual hashes of the catalog: those that one split must hold together.

Two pictures count as near-identical when at most `NEAR` of 256 bits differ. Of sixteen bands of a hash one at least is
then equal, so only hashes that share a band are compared. Of 300 emojis at 96 pixels, compressed as JPEG of quality 60
at 72 pixels, nine in ten stay that near; other emojis that do are the same drawing in another skin tone, or nearly so.
"""

from __future__ import annotations

from collections.abc import Sequence

from expunge.corpus.hashes import BITS

NEAR = 15
BAND = 16
CROWDED = 64
"""Of a band that more hashes share only so many are compared: the other bands find the pairs."""
STRUCTURED = range(BITS // 4, 3 * BITS // 4 + 1)
"""Bits that are set in the hash of a picture that is not of one colour."""


def near_identical(hashes: Sequence[bytes | None]) -> list[str | None]:
    """A name for each picture that near-identical ones share; None where it resembles no other.

    Args:
        hashes: of the catalog's column `hashes`; the first 256 bits are those of the whole picture.
    """
    bits = [None if packed is None else int.from_bytes(packed[: BITS // 8]) for packed in hashes]
    parent = list(range(len(bits)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    buckets: dict[tuple[int, int], list[int]] = {}
    for row, value in enumerate(bits):
        if value is None or value.bit_count() not in STRUCTURED:
            continue
        for band in range(BITS // BAND):
            bucket = buckets.setdefault((band, value >> band * BAND & (1 << BAND) - 1), [])
            for other in bucket:
                if root(other) != root(row) and (value ^ (bits[other] or 0)).bit_count() <= NEAR:
                    parent[root(row)] = root(other)
            if len(bucket) < CROWDED:
                bucket.append(row)
    groups: dict[int, list[int]] = {}
    for row in range(len(bits)):
        groups.setdefault(root(row), []).append(row)
    names: list[str | None] = [None] * len(bits)
    for rows in groups.values():
        if len(rows) > 1:
            name = f"{min(bits[row] or 0 for row in rows):064x}"
            for row in rows:
                names[row] = name
    return names
