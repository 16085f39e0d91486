"""Flickr30K, and Flickr8K and COCO as well, in Karpathy's JSON: a folder of pictures and `dataset_flickr30k.json`.

`catalog.data` is the folder, `catalog.captions` the JSON file (Karpathy and Fei-Fei, CVPR 2015). Its splits are train,
val and test; `restval` counts as train and `val` as calibration.
"""

from __future__ import annotations

from collections.abc import Iterator

from expunge.corpus.quarantine import Rejected, Unusable
from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import MAX_JSON, files_of, json_object, one_folder, own_source
from expunge.corpus.stores import PictureFolder
from expunge.project.errors import ExpungeError


def open_source(params: CatalogParams) -> Source[Offer]:
    """The pictures that a Karpathy file lists, each with its sentences."""
    return own_source(params, _offers(params))


def _offers(params: CatalogParams) -> Iterator[Offer]:
    gallery = PictureFolder(one_folder(params), params.storage, "catalog.data")
    for table in files_of(params, "captions"):
        images = json_object(table.read(MAX_JSON), table.name).get("images")
        if not isinstance(images, list):
            raise ExpungeError(f"{table.name} has no list `images`; is it Karpathy's file?")
        for number, image in enumerate(images, 1):
            place = f"{table.name}:{number}"
            if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
                yield Rejected(place, "bad_row", "no `filename`")
                continue
            folder = image.get("filepath")
            name = f"{folder}/{image['filename']}" if isinstance(folder, str) and folder else image["filename"]
            # Numbers are each file's own; the name of the picture is the same wherever it is listed.
            fields = {key: value for key, value in image.items() if key not in ("imgid", "filename", "filepath")}
            try:
                yield SourceRow(place, fields, gallery.find(name), name)
            except Unusable as problem:
                yield problem.at(place)
