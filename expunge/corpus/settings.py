"""Settings of the corpus."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from expunge.project.schema import Block, Count, Fraction

Columns = str | tuple[str, ...]


class HoldoutParams(Block):
    """Shares of the corpus that are never trained on."""

    calibration: Fraction = 0.08
    test_concepts: Fraction = 0.03
    test_variants: Fraction = 0.05


class MapParams(Block):
    """Which column of the source holds what; where one is not named, the usual names are looked for.

    Attributes:
        caption: a column, several, or a column for each language.
        picture: a column with the encoded picture, or with its path or address.
    """

    model_config = ConfigDict(populate_by_name=True)

    id: str | None = None
    caption: Columns | dict[str, Columns] | None = None
    class_: str | None = Field(None, alias="class")
    superclass: str | None = None
    concept: str | None = None
    variant: str | None = None
    subject: str | None = None
    split: str | None = None
    language: str | None = None
    picture: str | None = None


class CatalogParams(Block):
    """What the catalog is made of.

    Attributes:
        data: a path, a glob or an fsspec address (`s3://bucket/pictures`), or a list of them.
        captions: the file of captions beside a folder of pictures.
        pictures: the folder or address that the paths in a table are relative to; by default that of the table.
        query: SQL over the table `data`.
        storage: options of the fsspec file system; credentials belong into the environment instead.
        language: of captions that do not say theirs.
        languages: of captions that are kept; None keeps all.
        background: what transparent pictures are put on.
        license, credit: of the data; kept with the catalog and shown in reports.
        quarantine_limit: share of the source's rows that may be unusable before the build stops.
    """

    source: str = "openmoji"
    data: str | tuple[str, ...] | None = None
    captions: str | tuple[str, ...] | None = None
    pictures: str | None = None
    query: str | None = None
    map: MapParams = MapParams()
    storage: dict[str, Any] = Field(default_factory=dict)
    license: str = "not stated"
    credit: str = "not stated"
    language: Annotated[str, Field(min_length=1)] = "en"
    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    background: Annotated[str, Field(pattern=r"^([a-z]+|#[0-9a-fA-F]{6})$")] = "white"
    languages: tuple[str, ...] | None = None
    rows_per_shard: Count = 512
    limit: Annotated[int, Field(ge=0)] = 0
    quarantine_limit: Fraction = 0.05
    holdout: HoldoutParams = HoldoutParams()
