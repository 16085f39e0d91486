"""COCO captions: folders of pictures and `captions_train2017.json` and the like.

`catalog.data` is the folder that holds `train2017/` and `val2017/`, or one of these; `catalog.captions` a file, a glob
or a list. A split is that in the file's name: of train and val alone, `val` becomes calibration and the catalog draws a
test split from train.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from expunge.corpus.quarantine import Rejected, Unusable
from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import MAX_JSON, files_of, json_object, one_folder, own_source
from expunge.corpus.stores import PictureFolder, StoredFile
from expunge.project.errors import ExpungeError

PART = re.compile(r"(train|val|test)(\d{4})?")


def open_source(params: CatalogParams) -> Source[Offer]:
    """The pictures that COCO's caption files list, each with its captions."""
    return own_source(params, _offers(params))


def _offers(params: CatalogParams) -> Iterator[Offer]:
    gallery = PictureFolder(one_folder(params), params.storage, "catalog.data")
    for table in files_of(params, "captions"):
        yield from _images(table, gallery)


def _images(table: StoredFile, gallery: PictureFolder) -> Iterator[Offer]:
    content = json_object(table.read(MAX_JSON), table.name)
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ExpungeError(f"{table.name} lacks `images` or `annotations`; is it a file of COCO captions?")
    captions: defaultdict[Any, list[Any]] = defaultdict(list)
    for annotation in annotations:
        if isinstance(annotation, dict) and isinstance(annotation.get("image_id"), int | str):
            captions[annotation["image_id"]].append(annotation.get("caption"))
    part = PART.search(posixpath.basename(table.name))
    for number, image in enumerate(images, 1):
        place = f"{table.name}:{number}"
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            yield Rejected(place, "bad_row", "no `file_name`")
            continue
        name = image["file_name"]
        within = f"{part[0]}/{name}" if part and f"{part[0]}/{name}" in gallery.files else name
        fields = {"split": part[1] if part else None} | {k: v for k, v in image.items() if k not in ("id", "file_name")}
        fields["captions"] = captions.get(image.get("id"), [])
        try:
            yield SourceRow(place, fields, gallery.find(within), name)
        except Unusable as problem:
            yield problem.at(place)
