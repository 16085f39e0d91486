"""A Lance table; needs the extra `lance` (`pip install "expunge[lance]"`)."""

from __future__ import annotations

from collections.abc import Iterator

from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import one_folder, own_source
from expunge.corpus.sources._rows import BATCH, numbered
from expunge.project.errors import ExpungeError


def open_source(params: CatalogParams) -> Source[Offer]:
    """The rows of the Lance table at `catalog.data` as a source.

    Raises:
        ExpungeError: the library is not installed.
    """
    try:
        import lance  # noqa: F401
    except ImportError:
        raise ExpungeError('Source lance needs the package pylance: `pip install "expunge[lance]"`.') from None
    return own_source(params, _offers(one_folder(params), params))


def _offers(address: str, params: CatalogParams) -> Iterator[Offer]:
    import lance

    try:
        batches = lance.dataset(address, storage_options=params.storage or None).to_batches(batch_size=BATCH)
        for place, fields in numbered(address.rpartition("/")[2], iter(batches)):
            yield SourceRow(place, fields)
    except (ValueError, OSError) as error:
        raise ExpungeError(
            f"catalog.data: {address!r} cannot be read as a Lance table ({type(error).__name__})."
        ) from None
