"""A source → the catalog: pictures made plain, what is unusable put into quarantine, shards that fit kept.

The source is read in one pass, and one shard is in memory at a time. What a shard was made from (rows, and size and
time of picture files) is remembered in a small file beside the project's other state, so that a build after a change
decodes and writes the shards that changed. The result does not depend on it: without the file all is built again, to
the same bytes.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.alike import near_identical
from expunge.corpus.catalog import Catalog, cut, finish_catalog, shard_name, write_shard
from expunge.corpus.pictures import normalised
from expunge.corpus.quarantine import Intake, Rejected, Unusable, check_share, write_quarantine
from expunge.corpus.records import Draft, Mapper, Offer
from expunge.corpus.sample import SCHEMA, Sample, Source, Split, vector_id
from expunge.corpus.settings import CatalogParams
from expunge.corpus.splits import Member, assign, first_draw
from expunge.project.columns import read_table
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, read_json, sha256_file, write_json
from expunge.project.progress import brief
from expunge.project.workers import in_order, workers

KeepOut = Callable[[Sample], str | None]
"""Says why a sample must not come back, None where it may."""
STATED: dict[str, Split | None] = {"t": "train", "c": "calibration", "e": "test", "-": None}
LETTERS = {split: letter for letter, split in STATED.items()}


@dataclass(frozen=True)
class Places:
    """Where a build reads and writes.

    Attributes:
        state: what the shards were made from, for the next build.
    """

    catalog: Path
    quarantine: Path
    state: Path


@dataclass
class Built:
    """A catalog and how it came about; `written` and `kept` count shards."""

    catalog: Catalog
    intake: Intake
    kept_out: list[dict[str, str]]
    written: int
    kept: int


@dataclass
class _Piece:
    """What became of a run of consecutive rows.

    Attributes:
        entry: of the catalog's list, None where no row was usable.
        stated: a letter for each sample, by `STATED`: the split that the source gave it.
    """

    key: str
    entry: dict[str, Any] | None
    stated: str = ""
    rejected: list[list[str]] = field(default_factory=list)
    kept_out: list[dict[str, str]] = field(default_factory=list)
    treated: dict[str, int] = field(default_factory=dict)
    fresh: bool = True

    @property
    def rows(self) -> int:
        """Rows of the source, those that cannot be used among them."""
        return (self.entry["rows"] if self.entry else 0) + len(self.rejected) + len(self.kept_out)


def build_catalog(
    places: Places,
    open_source: Callable[[], Source[Offer]],
    params: CatalogParams,
    mapper: Mapper,
    keep_out: KeepOut,
    context: str,
) -> Built:
    """Build the catalog of a source.

    Args:
        open_source: may be called twice, where `catalog.limit` has to count first.
        context: changes with whatever else a shard depends on: code, versions, what must not come back.

    Raises:
        ExpungeError: the source is empty or cannot be read, more than `catalog.quarantine_limit` of it is unusable,
            or there is too little of it to hold a split out.
    """
    source = open_source()
    context = digest_of([context, params.model_dump(mode="json"), source.name, source.version, _versions()])
    remembered = _remembered(places, context)
    rejected: list[Rejected] = []
    drafts = _usable(_limited(open_source, source, params, mapper), rejected)
    runs = cut(drafts, lambda draft: draft.sample.sample_id, params.rows_per_shard)
    pieces = _pieces(runs, context, remembered, places.catalog, params, keep_out)
    entries = [piece.entry for piece in pieces if piece.entry]
    told = [Rejected(*row) for piece in pieces for row in piece.rejected]
    treated: Counter[str] = Counter()
    for piece in pieces:
        treated.update(piece.treated)
    kept_out = [row for piece in pieces for row in piece.kept_out]
    offered = sum(entry["rows"] for entry in entries) + len(kept_out) + len(told) + len(rejected)
    if not offered:
        raise ExpungeError(f"Source {source.name} yields no sample; check the `catalog` block of params.yaml.")
    intake = write_quarantine(places.quarantine, [*rejected, *told], offered, treated)
    check_share(intake, params.quarantine_limit, places.quarantine)
    _draw_splits(pieces, places.catalog, params)
    catalog = finish_catalog(places.catalog, source, [piece.entry for piece in pieces if piece.entry])
    remember = {piece.key: {k: v for k, v in vars(piece).items() if k not in ("key", "fresh")} for piece in pieces}
    write_json(places.state, {"context": context, "pieces": remember})
    written = sum(piece.fresh for piece in pieces if piece.entry)
    return Built(catalog, intake, kept_out, written, len(catalog.shards) - written)


def _versions() -> list[str]:
    return [PIL.__version__, pa.__version__]


def _remembered(places: Places, context: str) -> dict[str, Any]:
    try:
        state = read_json(places.state)
        return state["pieces"] if state["context"] == context else {}
    except (ExpungeError, KeyError, TypeError):
        return {}


def _limited(
    open_source: Callable[[], Source[Offer]], source: Source[Offer], params: CatalogParams, mapper: Mapper
) -> Iterator[Draft | Rejected]:
    """The drafts of the source; with `catalog.limit`, those with the lowest hashes of their ids."""
    drafts = mapper.drafts(source.samples)
    if not params.limit or source.limited:
        return drafts
    ids = (vector_id(draft.sample.sample_id) for draft in drafts if isinstance(draft, Draft))
    chosen = frozenset(heapq.nsmallest(params.limit, ids))
    again = mapper.drafts(open_source().samples)
    return (draft for draft in again if isinstance(draft, Draft) and vector_id(draft.sample.sample_id) in chosen)


def _usable(drafts: Iterator[Draft | Rejected], rejected: list[Rejected]) -> Iterator[Draft]:
    """Drafts whose id no earlier one has."""
    seen: set[int] = set()
    for draft in drafts:
        if isinstance(draft, Rejected):
            rejected.append(draft)
        elif (key := vector_id(draft.sample.sample_id)) in seen:
            rejected.append(Rejected(draft.location, "duplicate_id", "an earlier row has the same id"))
        else:
            seen.add(key)
            yield draft


def _pieces(
    runs: Iterator[list[Draft]],
    context: str,
    remembered: dict[str, Any],
    folder: Path,
    params: CatalogParams,
    keep_out: KeepOut,
) -> list[_Piece]:
    """What became of each run: known from the last build, or made now, by workers where there are any."""
    known: dict[int, _Piece] = {}

    def unknown() -> Iterator[tuple[str, list[Draft]]]:
        for number, drafts in enumerate(runs):
            key = digest_of([context, [[draft.location, draft.stamp] for draft in drafts]])
            if found := _kept(key, remembered, folder):
                known[number] = found
            else:
                yield key, [draft.read() for draft in drafts] if workers() > 1 else drafts

    def made(run: tuple[str, list[Draft]]) -> _Piece:
        return _piece(*run, folder, params, keep_out)

    fresh: list[_Piece] = []
    with brief("build the catalog") as report:  # how many rows there are, a source says at its end
        for piece in in_order(made, unknown(), lambda: made):
            fresh.append(piece)
            report(sum(one.rows for one in fresh), 0)
    rest = iter(fresh)
    return [known[number] if number in known else next(rest) for number in range(len(known) + len(fresh))]


def _kept(key: str, remembered: dict[str, Any], folder: Path) -> _Piece | None:
    """The piece of the last build, where its shard is still there."""
    if key not in remembered:
        return None
    known = _Piece(key, **remembered[key], fresh=False)
    entry = known.entry
    whole = entry is None or ((path := folder / entry["file"]).is_file() and sha256_file(path) == entry["sha256"])
    return known if whole else None


def _piece(key: str, drafts: list[Draft], folder: Path, params: CatalogParams, keep_out: KeepOut) -> _Piece:
    piece = _Piece(key, None)
    treated: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        try:
            image, done = normalised(draft.picture(), params.image_size, params.background)
        except Unusable as problem:
            piece.rejected.append(list(problem.at(draft.location)))
            continue
        sample = replace(draft.sample, image=image, split=draft.sample.split or "train")
        if evidence := keep_out(sample):
            piece.kept_out.append({"sample_id": sample.sample_id, "evidence": evidence})
            continue
        treated.update(done)
        row = sample.row()
        row["split"] = first_draw(_member(row, draft.sample.split), params.holdout)
        rows.append(row)
        piece.stated += LETTERS[draft.sample.split]
    piece.treated = dict(treated)
    if rows:
        path = folder / shard_name(drafts[0].sample.sample_id)
        piece.entry = write_shard(path, pa.Table.from_pylist(rows, schema=SCHEMA))
    return piece


def _member(row: dict[str, Any], stated: Split | None, alike: str | None = None) -> Member:
    return Member(row["sample_id"], row["subject_id"], row["concept"], row["variant"], stated, alike)


def _draw_splits(pieces: list[_Piece], folder: Path, params: CatalogParams) -> None:
    """Write again the shards in which a sample has another split now that all are known."""
    columns = ["sample_id", "subject_id", "concept", "variant", "split", "hashes"]
    written = [piece for piece in pieces if piece.entry]
    rows = [row for piece in written for row in read_table(folder / _file(piece), columns).to_pylist()]
    stated = [STATED[letter] for piece in written for letter in piece.stated]
    alike = near_identical([row["hashes"] for row in rows])
    found = [row["split"] for row in rows]
    splits = assign([_member(*known) for known in zip(rows, stated, alike, strict=True)], params.holdout)
    start = 0
    for piece in written:
        end = start + len(piece.stated)
        if splits[start:end] != found[start:end]:
            path = folder / _file(piece)
            table = pq.read_table(path, schema=SCHEMA)
            column = pa.array(splits[start:end], pa.string())
            at = table.schema.get_field_index("split")
            piece.entry = write_shard(path, table.set_column(at, SCHEMA.field("split"), column))
            piece.fresh = True
        start = end


def _file(piece: _Piece) -> str:
    return str((piece.entry or {})["file"])
