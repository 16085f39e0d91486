"""CIFAR-100: the unpacked folder of `cifar-100-binary.tar.gz`, or Hugging Face's Parquet files."""

from __future__ import annotations

from expunge.corpus.records import Offer
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._cifar import CifarLayout, cifar_offers
from expunge.corpus.sources._own import own_source

LABELS = {"superclass": "coarse_label_names.txt", "class": "fine_label_names.txt"}
LAYOUT = CifarLayout("cifar100", LABELS, train="train", test="test")


def open_source(params: CatalogParams) -> Source[Offer]:
    """The pictures of CIFAR-100; a caption is the name of the class."""
    return own_source(params, cifar_offers(params, LAYOUT))
