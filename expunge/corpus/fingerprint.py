"""What DVC must look at to notice that a source has changed.

Files of this machine are dependencies of the stage `catalog`: DVC hashes them, once for each change. Of a store
elsewhere it cannot; there the stage `source` lists names, sizes, and times or tags with every `dvc repro`, and the
catalog depends on the digest of that list. The same holds for a source of another package, of which the version counts.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import GROUP, is_own, open_source
from expunge.corpus.stores import fingerprint, is_local, listed, root_of
from expunge.project.errors import ExpungeError


def addresses(params: CatalogParams) -> dict[str, str]:
    """Every address that the settings name → the setting."""
    found: dict[str, str] = {}
    for setting, value in (("data", params.data), ("captions", params.captions), ("pictures", params.pictures)):
        for address in (value,) if isinstance(value, str) else value or ():
            found.setdefault(address, f"catalog.{setting}")
    return found


def watched(params: CatalogParams) -> list[str]:
    """Files and folders of this machine that the catalog depends on; of a glob, the folder that it lies in."""
    roots = sorted({root_of(address).rstrip("/") or "/" for address in addresses(params) if is_local(address)})
    return [root for root in roots if not any(root != other and root.startswith(f"{other}/") for other in roots)]


def must_ask(params: CatalogParams) -> bool:
    """Whether only the stage `source` can tell that the source has changed."""
    return not is_own(params.source) or any(not is_local(address) for address in addresses(params))


def ask(params: CatalogParams) -> dict[str, str]:
    """What the stage `source` records: it changes with what lies at the addresses, and with the package.

    Raises:
        ExpungeError: an address cannot be listed.
    """
    said = {
        address: fingerprint(listed(address, params.storage, setting))
        for address, setting in addresses(params).items()
        if not is_local(address)
    }
    if not is_own(params.source):
        point = next(iter(entry_points(group=GROUP, name=params.source)), None)
        if point is None:
            raise ExpungeError(f"catalog.source: the package that brings {params.source!r} is not installed.")
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        said[f"package of {params.source}"] = package
        said[f"version of {params.source}"] = str(open_source(params).version)
    return said
