"""The digests that name a release: what the files on disk say, for the registration to record and the trace to check.

Nothing here imports torch, so `expunge trace` answers quickly.
"""

from __future__ import annotations

from pathlib import Path

from expunge.corpus.catalog import MANIFEST, manifest_digest
from expunge.evaluation.metrics import Metrics
from expunge.models.files import CONFIG, WEIGHTS, beside_weights
from expunge.project.documents import content_of
from expunge.project.files import digest_of, read_json, sha256_file
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import load_release


def weights(paths: Paths, name: str) -> Path:
    """The file whose SHA-256 is the model digest of release `name`."""
    return paths.release(name).model / WEIGHTS


def sha256_if_there(path: Path) -> str | None:
    """Hex SHA-256 of a file, None where there is none."""
    return sha256_file(path) if path.is_file() else None


def release_files(paths: Paths, name: str) -> list[Path]:
    """What a release is made of and later readers rely on; report and metrics are left out, as they hold seconds."""
    where = paths.release(name)
    files = [where.model / WEIGHTS, where.model / CONFIG, *beside_weights(where.model), where.forget, where.retain]
    files += sorted(where.embeddings.glob("part-*.parquet")) + sorted(_files_in(where.index))
    return [path for path in files if path.is_file()]


def certified_files(paths: Paths, name: str) -> list[Path]:
    """What a certificate vouches for: all that the release consists of, and what its stages wrote about it."""
    where = paths.release(name)
    files = _files_in(where.model, where.sets, where.embeddings, where.index, where.figures)
    files += [where.metrics, where.summary, where.page, where.similarities, where.nearest, where.roc]
    files += [where.training, where.unlearning, where.gold_training, where.embedding_cost, where.description]
    return sorted(path for path in files if path.is_file())


def everything_in(paths: Paths, name: str) -> list[Path]:
    """All that lies in the folders of a release, hidden files and links included, and its certified files."""
    where = paths.release(name)
    folders = (where.model, where.sets, where.embeddings, where.index, where.figures)
    found = {path for folder in folders for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    return sorted(found | set(certified_files(paths, name)))


def source_files(paths: Paths, name: str, parent: str | None) -> list[Path]:
    """What a release was made from or compared with; a purge may have removed it since."""
    files = _files_in(paths.catalog, paths.release(name).gold)
    files += [weights(paths, parent)] if parent else []
    return sorted(path for path in files if path.is_file())


def _files_in(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if not path.name.startswith(".")]


def catalog_digest(paths: Paths) -> str | None:
    """The catalog's digest by its manifest, None where there is no catalog."""
    manifest = paths.catalog / MANIFEST
    return manifest_digest(read_json(manifest)) if manifest.is_file() else None


def description_digest(paths: Paths, name: str) -> str | None:
    """Digest of the content of release.yaml, whatever its layout; None for `base`, which has none."""
    return None if name == BASE else digest_of(load_release(paths, name).model_dump(mode="json"))


def metrics_digest(metrics: Metrics) -> str:
    """Digest of the figures without the costs: seconds differ from run to run, the release does not."""
    return digest_of({key: value for key, value in content_of(metrics).items() if key != "cost"})


def release_digest(model: str, forget: str | None, description: str | None, metrics: str) -> str:
    """The digest under which a release is recorded: the same model, requests and figures give the same one."""
    return digest_of({"model": model, "forget": forget, "description": description, "metrics": metrics})
