"""Splits that the catalog draws: by hash and by group, so that nothing that belongs together straddles two.

Samples belong together when they share a subject or a concept, or have near-identical pictures; a group is what such
links join. Where a group falls depends on its name alone, neither on order nor on a seed, so a sample that is added
later moves no other, unless it joins two groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from expunge.corpus.sample import Split
from expunge.corpus.settings import HoldoutParams
from expunge.project.errors import ExpungeError

FEWEST = 20
"""Samples for calibration: where a pair that was never seen would stand cannot be told from fewer."""
HELD_OUT: tuple[Split, ...] = ("calibration", "test")


@dataclass(frozen=True)
class Member:
    """What a sample's split depends on.

    Attributes:
        stated: the split that the source gives, None where the catalog draws it.
        alike: a name that near-identical pictures share.
    """

    sample_id: str
    subject: str | None
    concept: str
    variant: str | None
    stated: Split | None
    alike: str | None = None

    @property
    def links(self) -> list[str]:
        """Names that join this sample to others."""
        named = [("subject", self.subject), ("concept", self.concept), ("alike", self.alike)]
        return [f"{kind}:{name}" for kind, name in named if name is not None]


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, evenly spread."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def draw(link: str, holdout: HoldoutParams) -> Split:
    """Where the group of this name falls."""
    drawn = unit_hash(link)
    if drawn < holdout.calibration:
        return "calibration"
    return "test" if drawn < holdout.calibration + holdout.test_concepts else "train"


def first_draw(member: Member, holdout: HoldoutParams) -> Split:
    """The split of a sample that is joined to no other; `assign` may find another once all are known."""
    return member.stated or _varied(member, draw(min(member.links), holdout), holdout)


def assign(members: Sequence[Member], holdout: HoldoutParams) -> list[Split]:
    """The split of every sample.

    What the source states stands, and the rest of a group follows it: into training if one of it is trained on. A
    held-out split that is left empty gets the groups with the lowest draws of those that are trained, up to its share.
    Where that leaves fewer than `FEWEST` samples for calibration, groups of which the source states nothing are added.

    Raises:
        ExpungeError: nothing is left to train on, or there are too few groups to hold some out.
    """
    groups = _groups(members)
    drawn: dict[str, Split] = {}
    for name, rows in groups.items():
        stated = {members[row].stated for row in rows} - {None}
        drawn[name] = draw(name, holdout)
        for split in (*HELD_OUT, "train"):  # the last one that is stated wins
            drawn[name] = split if split in stated else drawn[name]
    result: list[Split] = ["train"] * len(members)
    for name, rows in groups.items():
        for row in rows:
            result[row] = members[row].stated or _varied(members[row], drawn[name], holdout)
    for split, share in (("calibration", holdout.calibration), ("test", holdout.test_concepts)):
        if split not in result:
            _hold_out(split, share, members, groups, result)
    if holdout.calibration and result.count("calibration") < FEWEST:
        _top_up("calibration", members, groups, result)
    if "train" not in result:
        raise ExpungeError(
            "The source has no sample to train on: every one is held out. Map a column of splits with more than those "
            "to `catalog.map.split`, or lower the shares in `catalog.holdout`."
        )
    return result


def check_calibration(held_out: Collection[str]) -> None:
    """Refuse to go on with too few samples for calibration, before any work that would be lost.

    Args:
        held_out: ids of those that are there, what is forgotten left out.

    Raises:
        ExpungeError: they are fewer than `FEWEST`.
    """
    if len(held_out) < FEWEST:
        raise ExpungeError(
            f"{len(held_out)} samples are held out for calibration, and {FEWEST} are needed to judge a release: raise "
            "`catalog.holdout.calibration`, or give the source more samples that share neither subject nor concept."
        )


def _hold_out(
    split: Split, share: float, members: Sequence[Member], groups: dict[str, list[int]], result: list[Split]
) -> None:
    wanted = share * len(members)
    trained = [name for name, rows in groups.items() if all(result[row] == "train" for row in rows)]
    trained.sort(key=lambda name: unit_hash(f"{split}:{name}"))
    if share == 0 or len(trained) < 2:
        setting = "calibration" if split == "calibration" else "test_concepts"
        raise ExpungeError(
            f"The corpus has no {split} split, and none can be drawn: raise `catalog.holdout.{setting}`, or give the "
            "source more samples that share neither subject nor concept. Without it no release can be judged."
        )
    held = 0
    for name in trained[:-1]:  # one group at least stays to be trained on
        for row in groups[name]:
            result[row] = split
        held += len(groups[name])
        if held >= wanted:
            return


def _top_up(split: Split, members: Sequence[Member], groups: dict[str, list[int]], result: list[Split]) -> None:
    """Add groups to a held-out split of less than `FEWEST` samples, as long as as many stay to be trained on."""
    free = [
        name
        for name, rows in groups.items()
        if all(result[row] == "train" and members[row].stated is None for row in rows)
    ]
    for name in sorted(free, key=lambda name: unit_hash(f"{split}:{name}")):
        if result.count(split) >= FEWEST or result.count("train") - len(groups[name]) < FEWEST:
            return
        for row in groups[name]:
            result[row] = split


def _varied(member: Member, split: Split, holdout: HoldoutParams) -> Split:
    """Single variants of trained concepts are held out too, where the source names variants and no person is shown."""
    if split == "train" and member.variant is not None and member.subject is None:
        return "test" if unit_hash(f"variant:{member.sample_id}") < holdout.test_variants else split
    return split


def _groups(members: Sequence[Member]) -> dict[str, list[int]]:
    """Rows that links join, by the smallest of their links (union-find)."""
    parent: dict[str, str] = {}

    def root(link: str) -> str:
        while parent.setdefault(link, link) != link:
            parent[link] = parent[parent[link]]
            link = parent[link]
        return link

    for member in members:
        first, *others = (root(link) for link in member.links)
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
            first = low
    groups: dict[str, list[int]] = {}
    for row, member in enumerate(members):
        groups.setdefault(root(member.links[0]), []).append(row)
    return groups
