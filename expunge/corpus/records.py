"""What a format yields before anything has been checked, and how its columns become the fields of a sample."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any

from expunge.corpus.quarantine import Reason, Rejected, Unusable
from expunge.corpus.sample import Caption, Sample, Split
from expunge.corpus.settings import CatalogParams, Columns
from expunge.corpus.stores import PictureFolder, StoredFile, folder_of
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, sha256_bytes

USUAL = {
    "id": ("sample_id", "id", "key", "__key__", "image_id", "imgid", "uid"),
    "caption": ("caption", "captions", "text", "txt", "title", "sentence", "sentences", "description", "alt_text"),
    "class_": ("class", "label", "category", "fine_label", "class_name", "cls"),
    "superclass": ("superclass", "coarse_label", "supercategory", "department"),
    "concept": ("concept", "product", "group"),
    "variant": ("variant",),
    "subject": ("subject", "subject_id", "user_id", "user"),
    "split": ("split", "partition"),
    "language": ("language", "lang", "locale"),
    "picture": (
        *("image", "picture", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes"),
        *("file_name", "filename", "file", "path", "image_path", "filepath", "url", "image_url"),
    ),
}
"""Where a field is looked for if `catalog.map` names no column, first name first."""
SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("calibration", "val", "valid", "validation", "dev"), "calibration"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
"""How data sets call their splits."""
MAX_CAPTION = 2000
"""Characters; CLIP reads the first few hundred."""
MAX_NAME = 500
NO_CLASS, NO_SUPERCLASS = "unlabelled", "all"
PEEK = 50


@dataclass(frozen=True)
class SourceRow:
    """One row of a source as its format has it.

    Attributes:
        location: where it stands, such as `pairs.csv:12`.
        fields: column → value.
        picture: where the row itself does not hold it.
        default_id: the id where no column has one.
    """

    location: str
    fields: Mapping[str, Any]
    picture: StoredFile | bytes | None = None
    default_id: str | None = None


@dataclass(frozen=True)
class Draft:
    """A sample whose picture was not looked at yet.

    Attributes:
        stamp: changes with anything that the sample is made from.
        picture: its encoded bytes, when they are needed.
    """

    location: str
    sample: Sample
    stamp: str
    picture: Callable[[], bytes]

    def read(self) -> Draft:
        """The same with its picture read, or what was wrong with it, so that another process can go on with it."""
        try:
            return replace(self, picture=partial(_picture, self.picture(), None))
        except Unusable as problem:
            return replace(self, picture=partial(_picture, b"", (problem.reason, problem.detail)))


def _picture(data: bytes, problem: tuple[Reason, str] | None) -> bytes:
    if problem is not None:
        raise Unusable(*problem)
    return data


Offer = Sample | SourceRow | Rejected
"""What a source yields."""


class Mapper:
    """Rows → drafts, by `catalog.map` and the usual names."""

    def __init__(self, params: CatalogParams) -> None:
        self.params = params
        self._named = params.map.model_dump()

    @cached_property
    def gallery(self) -> PictureFolder:
        """Where the paths in rows lead: `catalog.pictures`, or the folder of `catalog.data`."""
        data = self.params.data or ""
        address = self.params.pictures or folder_of(data if isinstance(data, str) else data[0])
        return PictureFolder(address, self.params.storage, "catalog.pictures")

    def drafts(self, offers: Iterable[Offer]) -> Iterator[Draft | Rejected]:
        """A draft of each row, or why there is none.

        Raises:
            ExpungeError: a column that `catalog.map` names is in none of the first rows.
        """
        waiting = iter(offers)
        first = list(islice(waiting, PEEK))
        self._check_names([offer for offer in first if isinstance(offer, SourceRow)])
        for number, offer in enumerate(chain(first, waiting), 1):
            if isinstance(offer, Rejected):
                yield offer
                continue
            # Not the id: a table that outlives the sample must not name it.
            place = offer.location if isinstance(offer, SourceRow) else f"sample {number}"
            try:
                yield self._of_record(offer) if isinstance(offer, SourceRow) else self._of_sample(offer, place)
            except Unusable as problem:
                yield problem.at(place)

    def _check_names(self, records: list[SourceRow]) -> None:
        columns = {name for record in records for name in record.fields}
        for field, named in self._named.items():
            for column in _columns(named):
                if records and column not in columns:
                    raise ExpungeError(
                        f"catalog.map.{field.rstrip('_')}: there is no column {column!r}; "
                        f"the source has {', '.join(sorted(columns))}."
                    )

    def _of_record(self, record: SourceRow) -> Draft:
        sample_id = _name(self._value(record, "id"))
        if sample_id is None:
            sample_id = record.default_id or record.location
        class_ = _name(self._value(record, "class_")) or NO_CLASS
        sample = Sample(
            sample_id=sample_id,
            class_=class_,
            superclass=_name(self._value(record, "superclass")) or NO_SUPERCLASS,
            subject_id=_name(self._value(record, "subject")),
            concept=_name(self._value(record, "concept")) or sample_id,
            variant=_name(self._value(record, "variant")),
            split=_split(self._value(record, "split")),
            captions=self._captions(record),
            image=b"",
        )
        picture = record.picture if record.picture is not None else self._picture(self._value(record, "picture"))
        good = checked(sample)
        if isinstance(picture, StoredFile):
            return Draft(record.location, good, digest_of([good.stated, picture.path, picture.stamp]), picture.read)
        content = picture
        return Draft(record.location, good, digest_of([good.stated, sha256_bytes(content)]), lambda: content)

    def _of_sample(self, sample: Sample, place: str) -> Draft:
        """Of a source that makes its samples itself."""
        good = checked(sample)
        content = sample.image
        if not isinstance(content, bytes) or not content:
            raise Unusable("no_picture", "the source gives none")
        return Draft(place, good, digest_of([good.stated, sha256_bytes(content)]), lambda: content)

    def _value(self, record: SourceRow, field: str) -> Any:
        named = self._named[field]
        if named is not None:
            return record.fields.get(named)
        return next((record.fields[name] for name in USUAL[field] if record.fields.get(name) is not None), None)

    def _picture(self, value: Any) -> StoredFile | bytes:
        if isinstance(value, dict):  # as Hugging Face's `Image` is stored
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes | bytearray | memoryview) and len(value):
            return bytes(value)
        if isinstance(value, str) and value.strip():
            return self.gallery.find(value.strip())
        raise Unusable("no_picture", "the row has neither bytes nor a path")

    def _captions(self, record: SourceRow) -> tuple[Caption, ...]:
        named = self._named["caption"]
        language = _name(self._value(record, "language")) or self.params.language
        if isinstance(named, dict):
            cells = [(tongue, record.fields.get(column)) for tongue in named for column in _columns(named[tongue])]
        elif named is not None:
            cells = [(language, record.fields.get(column)) for column in _columns(named)]
        else:
            cells = [(language, self._value(record, "caption"))]
        said = [caption for tongue, cell in cells for caption in _texts(cell, tongue)]
        languages = self.params.languages
        wanted = [caption for caption in said if languages is None or caption.language in languages]
        if said and not wanted:
            raise Unusable("no_caption", "none is in one of `catalog.languages`")
        return tuple(wanted)


def checked(sample: Sample) -> Sample:
    """The sample with its captions cleaned, those that cannot be used left out.

    Raises:
        Unusable: no caption is left, or the id or the split is none.
    """
    if not isinstance(sample.sample_id, str) or not sample.sample_id.strip() or len(sample.sample_id) > MAX_NAME:
        raise Unusable("bad_id", f"an id is a text of 1 to {MAX_NAME} characters")
    if not _is_text(sample.sample_id) or not sample.sample_id.isprintable():
        raise Unusable("bad_id", "an id is printable UTF-8")
    if sample.split not in (None, "train", "calibration", "test"):
        raise Unusable("unknown_split", "neither train, calibration nor test")
    captions: dict[Caption, None] = {}
    fault = Unusable("no_caption", "the row has none")
    for caption in sample.captions or ():
        text = " ".join(caption.text.split()) if isinstance(caption.text, str) else ""
        if not text:
            continue
        if not _is_text(text):
            fault = Unusable("caption_not_utf8", "a caption is not UTF-8")
        elif len(text) > MAX_CAPTION:
            fault = Unusable("caption_too_long", f"{len(text)} characters")
        else:
            captions[Caption(caption.language, text)] = None
    if not captions:
        raise fault
    names = {
        "class_": _name(sample.class_) or NO_CLASS,
        "superclass": _name(sample.superclass) or NO_SUPERCLASS,
        "concept": _name(sample.concept) or sample.sample_id,
        "subject_id": _name(sample.subject_id),
        "variant": _name(sample.variant),
    }
    return Sample(**vars(sample) | names | {"captions": tuple(captions)})


def _columns(named: Columns | dict[str, Columns] | None) -> tuple[str, ...]:
    if isinstance(named, dict):
        return tuple(column for columns in named.values() for column in _columns(columns))
    return () if named is None else (named,) if isinstance(named, str) else named


def _name(value: Any) -> str | None:
    """A cell that names something; None where it is empty.

    Raises:
        Unusable: it is not a name.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or value != value:  # not a number
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise Unusable("bad_row", "a name is neither a text nor a number")
    text = " ".join(str(value).split())
    if len(text) > MAX_NAME or not _is_text(text):
        raise Unusable("bad_row", f"a name is longer than {MAX_NAME} characters, or not UTF-8")
    return text or None


def _split(value: Any) -> Split | None:
    text = _name(value)
    if text is None:
        return None
    if text.casefold() not in SPLITS:
        raise Unusable("unknown_split", f"known are {', '.join(SPLITS)}")
    return SPLITS[text.casefold()]


def _texts(cell: Any, language: str) -> Iterator[Caption]:
    """The captions in one cell: a text, a list of them, a list as JSON, or Karpathy's sentences."""
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        try:
            parsed = json.loads(cell)
        except (ValueError, RecursionError):
            parsed = None
        cell = parsed if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed) else cell
    if isinstance(cell, str):
        yield Caption(language, cell)
    elif isinstance(cell, dict):
        text = next((cell[key] for key in ("text", "raw", "caption") if isinstance(cell.get(key), str)), "")
        yield Caption(str(cell.get("language") or language), text)
    elif isinstance(cell, list | tuple):
        for item in cell:
            yield from _texts(item, language)


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text
