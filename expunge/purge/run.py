"""The steps of a purge, in the order that makes each safe to be the last one before a kill.

First the catalog and the pipeline are made to stand without what goes, then it goes; the caches come after everything
that might fill them again. Each step may be done twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from filelock import FileLock, Timeout

from expunge.corpus.catalog import Catalog
from expunge.corpus.quarantine import withhold
from expunge.lineage.dvc import objects, rebase
from expunge.lineage.dvc.locks import data_version, relative
from expunge.lineage.git import tracked_files
from expunge.lineage.mlflow import retire
from expunge.project.clock import iso_seconds, utc_now
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_file
from expunge.project.paths import Paths
from expunge.purge import evidence as proof
from expunge.purge import prefect, receipts
from expunge.purge.journal import Journal
from expunge.purge.plan import PurgePlan, leftovers
from expunge.purge.rows import remove_rows, retained_digest
from expunge.purge.scan import Searcher
from expunge.purge.traces import gather, ids_anywhere
from expunge.releases.chain import chain, load_release
from expunge.releases.plan import cutting
from expunge.releases.registration import registered
from expunge.selection.sets import read_forget
from expunge.settings import Params

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Purge:
    """A purge under way: what the steps are given."""

    paths: Paths
    params: Params
    journal: Journal

    @property
    def forgotten(self) -> set[str]:
        return {row.sample_id for row in read_forget(self.paths.release(self.journal.release).forget)}

    @property
    def kept_digests(self) -> dict[str, str]:
        """Release → release digest of what stays."""
        return {name: registered(self.paths, name).release_digest for name in self.journal.kept}


def begin(paths: Paths, planned: PurgePlan) -> Journal:
    """Write down what the purge will need and could not learn any more, and thereby begin it.

    Raises:
        ExpungeError: a release was cut since the plan was made.
    """
    catalog = Catalog(paths.catalog)
    stores, _ = objects.stores(paths)
    found = gather(catalog, planned.forgotten, [paths.release(name).embeddings for name in planned.gone])
    known, retained = sorted(objects.known_objects(paths, stores)), retained_digest(catalog, planned.forgotten)
    with cutting(paths):  # whoever cuts next sees the journal
        names = chain(paths)
        if names[names.index(planned.release) :] != planned.kept:
            raise ExpungeError(
                f"{names[-1]} was cut since the purge was planned. Let `expunge release` finish it, and purge then."
            )
        return Journal.begin(
            paths,
            found,
            known,
            planned.release,
            gone=planned.gone,
            kept=planned.kept,
            began_at=iso_seconds(utc_now()),
            retained=retained,
            removed=[asdict(item) for item in planned.items],
            data_version=data_version(paths),
        )


def finish(paths: Paths, params: Params, journal: Journal, report: Announce = lambda step: None) -> dict[str, Any]:
    """Do the steps that are not done yet and return the proof.

    Raises:
        ExpungeError: a step cannot be done now, or the search found something; run again when that is mended.
    """
    purge = Purge(paths, params, journal)
    for name, step in STEPS.items():
        if name not in journal.done:
            report(name)
            if name in WITH_DVC:
                with journal.from_the_same_start(name, paths.root, rebase.pipeline_files(paths)):
                    step(purge)
                    journal.finish(name)
            else:
                step(purge)
                journal.finish(name)
    journal.close()
    return proof.read(paths, journal.release)


@contextmanager
def alone(paths: Paths) -> Iterator[None]:
    """Hold the locks that keep flows and stages from running meanwhile.

    Raises:
        ExpungeError: a stage runs now.
    """
    paths.slot.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            for lock in (paths.slot, paths.stage_lock):
                held.enter_context(FileLock(lock).acquire(timeout=1))
        except Timeout:
            raise ExpungeError("A stage of the pipeline is running; purge when it has ended.") from None
        yield


def _catalog(purge: Purge) -> None:
    before = purge.journal.data_version or data_version(purge.paths)
    remove_rows(purge.paths.catalog, purge.forgotten, before)
    withhold(purge.paths.quarantine, Searcher(ids_anywhere(purge.journal.traces())).betrays)
    purge.paths.catalog_state.unlink(missing_ok=True)  # a build after this one keeps nothing of what was


def _pipeline(purge: Purge) -> None:
    journal, tracked = purge.journal, tracked_files(purge.paths.root)
    rebase.rebase(purge.paths, journal.gone, journal.kept, journal.began_at, tracked)


def _workspace(purge: Purge) -> None:
    paths = purge.paths
    for folder in (folder for name in purge.journal.gone for folder in rebase.folders_of(paths, name)):
        shutil.rmtree(folder, ignore_errors=True)
    for path in leftovers(paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _mlflow(purge: Purge) -> None:
    retire.retire(purge.paths, purge.params.mlflow, purge.kept_digests, purge.journal.release)


def _prefect(purge: Purge) -> None:
    prefect.clean(purge.paths, Searcher(purge.journal.traces()))


def _intake(purge: Purge) -> None:
    receipts.clean(purge.paths.root / purge.params.ledger.drop_folder, Searcher(purge.journal.traces()))


def _stores(purge: Purge) -> None:
    paths, known = purge.paths, purge.journal.known_objects()
    stores, _ = objects.stores(paths)
    used = objects.used_objects(paths)
    remotes = [store.name for store in stores[1:] if store.objects()]
    objects.refill(paths, remotes)
    for store in stores:
        store.remove([*store.surplus(used, known), *store.surplus_runs(known)])
    objects.forget_listings(paths, remotes)


def _retained(purge: Purge) -> None:
    """While DVC still has the old shards."""
    if retained_digest(Catalog(purge.paths.catalog), set()) != purge.journal.retained:
        raise ExpungeError("The catalog lost a retained sample: restore it by `dvc checkout --force data/catalog`.")


def _proof(purge: Purge) -> None:
    proof.prove(purge.paths, purge.params, purge.journal, purge.forgotten)


def _keep(purge: Purge) -> None:
    """Only a clean proof: an older one would be an object in DVC's cache that nothing uses."""
    where = purge.paths.release(purge.journal.release)
    rebase.keep_also(purge.paths, purge.journal.release, relative(purge.paths, where.purge))


def _ledger(purge: Purge) -> None:
    from expunge.requests.ledger import Ledger

    paths, journal = purge.paths, purge.journal
    ledger = Ledger.open(purge.params.ledger, paths.root)
    released = {record.request.request_id for record in ledger.records() if record.state in ("released", "purged")}
    served = [name for name in (*journal.gone, journal.release) if paths.release(name).description.is_file()]
    ids = [request.request_id for name in served for request in load_release(paths, name).requests]
    digest = sha256_file(paths.release(journal.release).purge)
    ledger.mark_purged([name for name in ids if name in released], journal.release, by="expunge", proof=digest)


def _certificate(purge: Purge) -> None:
    """The release's certificates now say what was purged and what was found."""
    from expunge.proof.certificate import issue_again

    issue_again(purge.paths, purge.params, purge.journal.release)


STEPS: dict[str, Callable[[Purge], None]] = {
    "catalog": _catalog,
    "retained": _retained,
    "pipeline": _pipeline,
    "workspace": _workspace,
    "mlflow": _mlflow,
    "prefect": _prefect,
    "intake": _intake,
    "stores": _stores,
    "proof": _proof,
    "keep": _keep,
    "ledger": _ledger,
    "certificate": _certificate,
}
WITH_DVC = ("pipeline", "keep", "certificate")
"""Steps in which DVC writes its own files, which it does in place."""
