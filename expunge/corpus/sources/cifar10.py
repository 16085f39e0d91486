"""CIFAR-10: the unpacked folder of `cifar-10-binary.tar.gz`, or Hugging Face's Parquet files."""

from __future__ import annotations

from expunge.corpus.records import Offer
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._cifar import CifarLayout, cifar_offers
from expunge.corpus.sources._own import own_source

LAYOUT = CifarLayout("cifar10", {"class": "batches.meta.txt"}, train="data_batch", test="test_batch")


def open_source(params: CatalogParams) -> Source[Offer]:
    """The pictures of CIFAR-10; a caption is the name of the class."""
    return own_source(params, cifar_offers(params, LAYOUT))
