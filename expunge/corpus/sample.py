"""One image with its captions, as sources yield it and the catalog keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import pyarrow as pa

from expunge.corpus.hashes import PACKED, packed_hashes
from expunge.project.files import (
    canonical_json,
    sha256_bytes,
)

Split = Literal["train", "calibration", "test"]
"""`train` is what the base model learns from. Neither of the others is ever trained on: `calibration` estimates what
a never-seen pair looks like, `test` is read by the evaluation alone."""


CAPTION_TYPE = pa.struct([pa.field("language", pa.string(), False), pa.field("text", pa.string(), False)])


SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), False),
        pa.field("class", pa.string(), False),
        pa.field("superclass", pa.string(), False),
        pa.field("subject_id", pa.string()),
        pa.field("concept", pa.string(), False),
        pa.field("variant", pa.string()),
        pa.field("split", pa.string(), False),
        pa.field("caption", pa.string(), False),
        pa.field("captions", pa.list_(pa.field("item", CAPTION_TYPE, False)), False),
        pa.field("content_sha256", pa.string(), False),
        pa.field("hashes", pa.binary(PACKED)),
        pa.field("image", pa.binary(), False),
    ]
)
"""One row per sample. `caption` is the canonical one, the first of `captions`; `image` is an encoded picture, `hashes`
its perceptual hashes (null where it cannot be decoded)."""


METADATA_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("hashes", "image"))
"""What is said of a sample: what fits in memory for selection and retrieval."""


class Caption(NamedTuple):
    """One text that describes a sample, with its BCP 47 language."""

    language: str
    text: str


@dataclass(frozen=True)
class Sample:
    """One image with its captions, as a source yields it.

    Where a source has no splits, `split` is None and the catalog draws it.
    """

    sample_id: str
    class_: str
    superclass: str
    subject_id: str | None
    concept: str
    variant: str | None
    split: Split | None
    captions: tuple[Caption, ...]
    image: bytes

    @property
    def content_sha256(self) -> str:
        """Digest of what a model could learn from: the image bytes and every caption."""
        return sha256_bytes(self.image + b"\0" + canonical_json(self.captions))

    @property
    def stated(self) -> dict[str, Any]:
        """Everything but the picture, as JSON values."""
        return {key: value for key, value in vars(self).items() if key != "image"}

    @classmethod
    def of_row(cls, row: dict) -> Sample:
        """The sample of a row of `SCHEMA`."""
        plain = {name: row[name] for name in ("sample_id", "superclass", "subject_id", "concept", "variant", "split")}
        captions = tuple(Caption(**caption) for caption in row["captions"])
        return cls(**plain, class_=row["class"], captions=captions, image=row["image"])

    def row(self) -> dict:
        """The sample as a row of `SCHEMA`."""
        return {
            "sample_id": self.sample_id,
            "class": self.class_,
            "superclass": self.superclass,
            "subject_id": self.subject_id,
            "concept": self.concept,
            "variant": self.variant,
            "split": self.split,
            "caption": self.captions[0].text,
            "captions": [caption._asdict() for caption in self.captions],
            "content_sha256": self.content_sha256,
            "hashes": packed_hashes(self.image),
            "image": self.image,
        }


Offered = TypeVar("Offered", covariant=True)


@dataclass(frozen=True)
class Source(Generic[Offered]):
    """Samples with the provenance that their licence asks to be kept beside them.

    Attributes:
        samples: samples, or what they are made from (`expunge.corpus.records.Offer`).
        limited: whether the source keeps to `catalog.limit` itself.
    """

    name: str
    version: str
    license: str
    credit: str
    samples: Iterable[Offered]
    limited: bool = False


def vector_id(sample_id: str) -> int:
    """The 63-bit id under which an index stores a sample: it comes from the name, so it survives every rebuild."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8]) >> 1
