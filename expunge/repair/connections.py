"""What the project reaches: its pipeline, keys, Prefect, MLflow, the ledger, DVC's remotes."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from expunge.lineage.dvc.objects import opened
from expunge.lineage.mlflow.store import SQLITE, tracking_uri
from expunge.project.errors import ExpungeError, one_line
from expunge.project.library import check_version
from expunge.project.prefect_home import prefect_home
from expunge.proof.signing import signing_key, trusted_key
from expunge.releases.stages import outdated
from expunge.repair.state import Site
from expunge.repair.symptoms import Symptom, address_answers, without_password


def pipeline(site: Site) -> Iterator[Symptom]:
    """git and DVC, and stages that fit library and settings."""
    root = site.paths.root
    if not (root / ".dvc").is_dir():
        yield Symptom("pipeline", "blocks", "this folder is not a DVC repository", "expunge init makes a project")
        return
    try:
        check_version(site.paths)
        old = outdated(site.paths, site.params.catalog)
    except ExpungeError as error:
        yield Symptom("pipeline", "blocks", str(error), "expunge stages")
        return
    if old:
        names = ", ".join(str(path) for path in old)
        yield Symptom("pipeline", "note", f"{names} lags behind the library or params.yaml", "expunge stages")
    else:
        yield Symptom("pipeline", "ok", "dvc.yaml fits the library and params.yaml")


def keys(site: Site) -> Iterator[Symptom]:
    """The pair that certificates are signed and checked with, and who may read the private half."""
    params = site.params.certificate
    private = site.paths.root / params.private_key
    if params.mode == "demo" and not private.is_file() and "EXPUNGE_SIGNING_KEY" not in os.environ:
        found = "mode `demo`: a pair is made on first use, and proves no identity"
        yield Symptom("keys", "note", found, "certificate.mode: production, and expunge certificate new-key")
        return
    try:
        signing_key(site.paths, params)
        trusted_key(site.paths, params)
    except ExpungeError as error:
        yield Symptom("keys", "blocks", str(error), "do that, or `expunge certificate new-key`")
        return
    yield Symptom("keys", "ok", f"mode `{params.mode}`, a pair that can be read")


def prefect(site: Site) -> Iterator[Symptom]:
    """A flow asks the server that the environment or Prefect's profile names, also one that is long gone."""
    named = {"PREFECT_API_URL": os.environ.get("PREFECT_API_URL"), "Prefect's profile": _profile_address()}
    for where, url in named.items():
        if url and not address_answers(url):
            cure = "start that server, or `unset PREFECT_API_URL` / `prefect config unset PREFECT_API_URL`"
            yield Symptom("Prefect", "blocks", f"{where} names {without_password(url)}, which does not answer", cure)
            return
    if site.paths.server_environment.is_file() and not any(named.values()):
        yield Symptom("Prefect", "ok", f"`make serve` runs, or left {site.paths.server_environment} behind")
        return
    url = next(filter(None, named.values()), None)
    yield Symptom("Prefect", "ok", without_password(url) if url else "a temporary server for each flow")


def mlflow(site: Site) -> Iterator[Symptom]:
    """Where releases are recorded."""
    uri = tracking_uri(site.paths, site.params.mlflow)
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            yield Symptom("MLflow", "blocks", f"{folder} cannot be written", "mend mlflow.tracking_uri")
        else:
            yield Symptom("MLflow", "ok", uri)
    elif uri.startswith(("http://", "https://", "postgresql")) and not address_answers(uri):
        yield Symptom("MLflow", "blocks", f"{without_password(uri)} does not answer", "start it, or mend the address")
    else:
        yield Symptom("MLflow", "ok", without_password(uri))


def ledger(site: Site) -> Iterator[Symptom]:
    """The database of requests."""
    from expunge.requests.ledger import Ledger

    url = site.params.ledger.url
    if not url.startswith("sqlite") and not address_answers(url):
        yield Symptom("ledger", "blocks", f"{without_password(url)} does not answer", "start it, or mend ledger.url")
        return
    try:
        count = len(Ledger.open(site.params.ledger, site.paths.root).records())
    except ExpungeError as error:
        yield Symptom("ledger", "blocks", one_line(error), "expunge repair")
        return
    yield Symptom("ledger", "ok", f"{without_password(url)}, {count} requests")


def remotes(site: Site) -> Iterator[Symptom]:
    """DVC's remotes, from which a clone gets its data."""
    if not (site.paths.root / ".dvc").is_dir():
        return
    with opened(site.paths) as repo:
        known = {name: dict(entry) for name, entry in repo.config["remote"].items()}
    if not known:
        cure = "dvc remote add --default NAME ADDRESS"
        yield Symptom("DVC remote", "note", "none: a clone of this project gets no data", cure)
    for name, entry in known.items():
        url = str(entry.get("url", ""))
        is_there = address_answers(str(entry.get("endpointurl") or url)) if "://" in url else Path(url).is_dir()
        if "://" in url and not url.startswith(("http", "ssh")) and not entry.get("endpointurl"):
            yield Symptom(
                f"DVC remote {name}", "note", f"{without_password(url)}, not asked", "dvc status --cloud asks it"
            )
        elif is_there:
            yield Symptom(f"DVC remote {name}", "ok", without_password(url))
        else:
            cure = "mount or start it, or mend the address: dvc remote modify"
            yield Symptom(f"DVC remote {name}", "blocks", f"{without_password(url)} is not there", cure)


def _profile_address() -> str | None:
    """The server that Prefect's active profile names."""
    path = prefect_home() / "profiles.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        active = os.environ.get("PREFECT_PROFILE") or content.get("active")
        return content["profiles"][active].get("PREFECT_API_URL")
    except (OSError, KeyError, AttributeError, TypeError, tomllib.TOMLDecodeError):
        return None
