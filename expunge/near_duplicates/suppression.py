"""What is forgotten stays out: the list of what a source may not bring back.

The list is a file of this machine beside the ledger, written when a release is registered and read by the next build
of the catalog. No stage depends on it: catalogs that exist stay as they are. It holds no content, only HMACs
under the ledger's key: of ids, of pictures with their captions, of pictures alone, and of bands of perceptual hashes
under the usual views (a band is 16 of 256 bits; banding as in Broder, "On the resemblance and containment of
documents", 1997). Without the key a line says nothing; with it one can test whether a given picture is on the list.

Near-duplicates are looked for among samples that were not in the catalog when the release was made: those that were,
a reviewer has seen and kept. Hashes see no colour, so a newcomer that differs from a forgotten picture in colour alone
is kept out too, unless the catalog declares it another variant. bench/near_duplicates.py measures what comes through:
half of the cropped copies and a third of the padded ones, hardly any others.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import Sample
from expunge.near_duplicates import suppression_head
from expunge.near_duplicates.variants import declared_apart
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_bytes, write_bytes
from expunge.project.paths import Paths
from expunge.requests.keys import secret_key

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Evidence = Literal["id", "content", "picture", "near-duplicate"]

FORMAT = 1
BAND_BITS = 16
EQUAL_BANDS = 3
"""This many of the 16 bands must be equal under one view; calibrated by bench/near_duplicates.py."""
DIGEST = 32
SHORT = 8
"""Hex digits of a digest that must be unique, and of a band, which only has to be unlikely to be equal by chance."""


@dataclass(frozen=True)
class Suppressed:
    """The list in memory.

    Attributes:
        key: the ledger's secret.
        exact: keyed digests of ids, contents and pictures.
        bands: keyed digest of a band → the views, by number, that have it.
        declared: of each view, the keyed digests of its sample's concept and variant.
        known: keyed digests of the ids that were in the catalog, and stayed, at the last release.
    """

    key: bytes = b""
    exact: dict[str, Evidence] = field(default_factory=dict)
    bands: dict[str, list[int]] = field(default_factory=dict)
    declared: tuple[tuple[str, str | None], ...] = ()
    known: frozenset[str] = frozenset()

    @classmethod
    def load(cls, paths: Paths) -> Suppressed:
        """The list of this project; empty before the first release.

        Raises:
            ExpungeError: the list is damaged, or was written under another key.
        """
        lines = _read(paths)
        if not lines:
            return cls()
        exact: dict[str, Evidence] = {}
        bands: dict[str, list[int]] = defaultdict(list)
        views = [(line, view) for line in lines.values() for view in line["views"]]
        for line in lines.values():
            exact |= {line["id"]: "id", line["content"]: "content", line["picture"]: "picture"}
        exact.pop("", None)
        for number, (_, view) in enumerate(views):
            for band in _pieces(view, SHORT):
                bands[band].append(number)
        declared = tuple((line["concept"], line["variant"]) for line, _ in views)
        return cls(secret_key(paths.root), exact, dict(bands), declared, frozenset(_known(paths)))

    def __bool__(self) -> bool:
        return bool(self.exact)

    def matches(self, sample: Sample) -> bool:
        """Whether `sample` must not enter a catalog."""
        return self.evidence(sample) is not None

    def evidence(self, sample: Sample) -> Evidence | None:
        """What about `sample` is on the list, None where nothing is."""
        for digest in _exact_digests(self.key, sample) if self else ():
            if digest in self.exact:
                return self.exact[digest]
        if not self or _digest(self.key, "id", sample.sample_id) in self.known:
            return None
        return "near-duplicate" if self._resembles(sample) else None

    def _resembles(self, sample: Sample) -> bool:
        from expunge.corpus.hashes import frames, perceptual_hashes
        from expunge.near_duplicates.pictures import has_structure

        picture = _decoded(sample)
        if not has_structure(picture):
            return False
        declared = _declared(self.key, sample)
        for bits in perceptual_hashes(frames(picture)):
            hits = Counter(view for band in _bands(self.key, bits) for view in self.bands.get(band, ()))
            likely = (view for view, count in hits.items() if count >= EQUAL_BANDS)
            if any(not declared_apart(*declared, *self.declared[view]) for view in likely):
                return True
        return False


def record(paths: Paths, release: str) -> int:
    """Add what `release` forgets to the list, and note which samples stay; return the length of the list.

    Lines are never taken away, and recording again changes nothing: samples that were purged from the catalog since
    are on the list already.
    """
    from expunge.selection.sets import read_forget

    rows = read_forget(paths.release(release).forget)
    own = {row.sample_id for row in rows if row.release == release}
    forgotten = {row.sample_id for row in rows}
    key, lines, catalog = secret_key(paths.root), _read(paths), Catalog(paths.catalog)
    for sample in _samples(catalog, own):
        line = _line(key, sample)
        lines[line["id"]] = line
    known = sorted(_digest(key, "id", name) for name in catalog.ids if name not in forgotten)
    return _write(paths, lines, "".join(known))


def record_ids(paths: Paths, ids: Iterable[str]) -> int:
    """Add samples of which nothing but the id is known any more, as after a restore; return the length of the list.

    They are kept out under their ids only, not their pictures under other names.
    """
    key, lines = secret_key(paths.root), _read(paths)
    for name in ids:
        digest = _digest(key, "id", name)
        nothing: dict[str, Any] = {"content": "", "picture": "", "concept": "", "variant": None, "views": []}
        lines.setdefault(digest, {"id": digest, **nothing})
    return _write(paths, lines, "".join(_known(paths)) if paths.suppression.is_file() else "")


def _write(paths: Paths, lines: dict[str, dict], known: str) -> int:
    head = {"format": FORMAT, "key": _digest(secret_key(paths.root), "key", ""), "known": known}
    body = [head, *(lines[name] for name in sorted(lines))]
    content = "".join(json.dumps(line, sort_keys=True) + "\n" for line in body).encode()
    # While the list is replaced, both contents count: a kill in between leaves one or the other.
    suppression_head.expect(paths, len(lines), [*suppression_head.present(paths), content])
    write_bytes(paths.suppression, content)
    suppression_head.expect(paths, len(lines), [content])
    return len(lines)


def keeps_out(paths: Paths, ids: Iterable[str]) -> list[str]:
    """Those of the samples `ids` that the list does not know by their id, and so would not keep out.

    Raises:
        ExpungeError: the list is gone, damaged or not the one that was written last.
    """
    lines, key = _read(paths), secret_key(paths.root)
    return sorted(name for name in ids if _digest(key, "id", name) not in lines)


def _line(key: bytes, sample: Sample) -> dict:
    from expunge.corpus.hashes import perceptual_hashes
    from expunge.near_duplicates.pictures import geometric_views, has_structure

    name, content, image = _exact_digests(key, sample)
    concept, variant = _declared(key, sample)
    picture, views = _decoded(sample), set()
    if has_structure(picture):
        hashes = perceptual_hashes([view.image() for view in geometric_views(picture)])
        views = {"".join(_bands(key, bits)) for bits in hashes}
    return {
        "id": name,
        "content": content,
        "picture": image,
        "concept": concept,
        "variant": variant,
        "views": sorted(views),
    }


def _declared(key: bytes, sample: Sample) -> tuple[str, str | None]:
    variant = None if sample.variant is None else _digest(key, "variant", sample.variant)
    return _digest(key, "concept", sample.concept), variant


def _exact_digests(key: bytes, sample: Sample) -> Iterator[str]:
    yield _digest(key, "id", sample.sample_id)
    yield _digest(key, "content", sample.content_sha256)
    yield _digest(key, "picture", sha256_bytes(sample.image))


def _bands(key: bytes, bits: np.ndarray) -> list[str]:
    """Keyed digest of each band of a hash, bool [256]; bands at different places never share one."""
    import numpy as np

    rows = np.packbits(bits.reshape(-1, BAND_BITS), axis=1)
    return [_digest(key, f"band {place}", row.tobytes().hex())[:SHORT] for place, row in enumerate(rows)]


def _digest(key: bytes, kind: str, value: str) -> str:
    return hmac.new(key, f"suppression {kind}\0{value}".encode(), "sha256").hexdigest()[:DIGEST]


def _decoded(sample: Sample) -> Image.Image:
    from expunge.corpus.pictures import decode_image

    return decode_image(sample.image, sample.sample_id)


def _samples(catalog: Catalog, ids: set[str]) -> Iterator[Sample]:
    """The samples `ids` of a catalog, one shard in memory at a time."""
    for table in catalog.tables():
        for row in table.to_pylist():
            if row["sample_id"] in ids:
                yield Sample.of_row(row)


def _read(paths: Paths) -> dict[str, dict]:
    """The lines by the keyed digest of their sample's id, once they are those that were written last."""
    lines = list(_lines(paths))
    if lines and lines[0].get("key") != _digest(secret_key(paths.root), "key", ""):
        raise ExpungeError(
            f"{paths.suppression} was written under another key, so what was forgotten could come back. "
            f"Restore {paths.key} from your backup, or set EXPUNGE_KEY as it was."
        )
    suppression_head.check(paths)
    return {line["id"]: line for line in lines[1:]}


def _known(paths: Paths) -> Iterable[str]:
    return _pieces(next(_lines(paths))["known"], DIGEST)


def _lines(paths: Paths) -> Iterator[dict]:
    if not paths.suppression.is_file():
        return
    try:
        for text in paths.suppression.read_text(encoding="utf-8").splitlines():
            yield json.loads(text)
    except (ValueError, OSError) as error:
        raise ExpungeError(
            f"{paths.suppression} cannot be read ({type(error).__name__}), so what was forgotten could come back. "
            "Restore it from your backup."
        ) from None


def _pieces(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(0, len(text), length))
