"""Where everything lies, relative to the project's folder. No other module spells a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BASE = "base"
"""The name of the release that no request has touched yet."""

JOURNAL = "journal.json"


@dataclass(frozen=True)
class Paths:
    """Locations under `root`, the folder that holds `params.yaml` and `dvc.yaml`."""

    root: Path = Path()

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def pipeline(self) -> Path:
        """DVC's stages of what changes seldom."""
        return self.root / "dvc.yaml"

    @property
    def library(self) -> Path:
        """The library's sources, where the project has them: in its own repository."""
        return self.root / "expunge"

    @property
    def library_version(self) -> Path:
        """The version of the library that the stages depend on, where the project has no sources of it."""
        return self.root / ".expunge-version"

    @property
    def catalog(self) -> Path:
        return self.root / "data" / "catalog"

    @property
    def quarantine(self) -> Path:
        """What the source offers and the catalog cannot use, with the reasons."""
        return self.root / "data" / "quarantine.parquet"

    @property
    def source_fingerprint(self) -> Path:
        """Digest of the listing of a source that DVC cannot see itself."""
        return self.root / "data" / "source.json"

    @property
    def catalog_state(self) -> Path:
        """What each shard of the catalog was made from, so that the next build keeps those that fit."""
        return self.root / ".expunge" / "catalog-state.json"

    def stand_ins(self, release: str) -> Path:
        """Models that a release is compared with, from the ladder to the evaluation."""
        return self.checkpoints / "stand-ins" / release

    @property
    def precision(self) -> Path:
        """Which precision was measured to be faster on this machine."""
        return self.root / ".expunge" / "precision.json"

    @property
    def checkpoints(self) -> Path:
        """State of unfinished runs: outside every stage's outputs, ignored by git and DVC."""
        return self.root / ".expunge" / "checkpoints"

    @property
    def key(self) -> Path:
        """The secret under which requesters are hashed."""
        return self.root / ".expunge" / "key"

    @property
    def ledger_head(self) -> Path:
        """Number and hash of the ledger's last event, under the project's key."""
        return self.root / ".expunge" / "ledger-head.json"

    @property
    def live(self) -> Path:
        """The small file that names the newest release."""
        return self.root / "releases" / "live.yaml"

    @property
    def live_summary(self) -> Path:
        """Verdict and figures of the newest release and its ancestors."""
        return self.root / "reports" / "live.json"

    @property
    def overview(self) -> Path:
        """The page that says what is due, what failed and what to do; written anew by each command that changes it."""
        return self.root / "reports" / "index.html"

    @property
    def comparisons(self) -> Path:
        """Pages that compare models; a later release may forget what they show, and they go with its registration."""
        return self.root / "reports" / "compare"

    def comparison(self, first: str, second: str) -> Path:
        """The page that compares two models; names of models may be paths, of which the page's name is made."""
        name = "-".join(re.sub(r"[^A-Za-z0-9]+", "_", one).strip("_") for one in (first, second))
        return self.comparisons / f"{name}.html"

    @property
    def suppression(self) -> Path:
        """Keyed digests of what no source may bring back: beside the ledger, and to be backed up with it."""
        return self.root / "data" / "suppression.jsonl"

    @property
    def suppression_head(self) -> Path:
        """Length and keyed digest of the suppression list."""
        return self.root / ".expunge" / "suppression-head.json"

    @property
    def kept_out(self) -> Path:
        """Which samples the last build of the catalog kept out."""
        return self.root / ".expunge" / "kept-out.json"

    def preview_page(self, request_id: str) -> Path:
        """Pictures for the reviewer of one request; gone with its decision, ignored by git and DVC."""
        return self.root / ".expunge" / "previews" / f"{request_id}.html"

    @property
    def server_secret(self) -> Path:
        """The password of the web servers of this project."""
        return self.root / ".expunge" / "server-secret"

    @property
    def server_environment(self) -> Path:
        """Shell variables with which `prefect` reaches the running server; gone when the server is."""
        return self.root / ".expunge" / "serve.env"

    @property
    def prefect_home(self) -> Path:
        """Prefect's database and settings: the project's own, not the user's."""
        return self.root / ".expunge" / "prefect"

    @property
    def slot(self) -> Path:
        """Lock file: one flow at a time has a stage reproduced, DVC's own work before and after it included."""
        return self.root / ".expunge" / "slot.lock"

    @property
    def stage_lock(self) -> Path:
        """Lock file: one stage at a time runs on this machine, whoever started it."""
        return self.root / ".expunge" / "stage.lock"

    @property
    def cutting(self) -> Path:
        """Lock file: one process at a time decides what the next release serves."""
        return self.root / ".expunge" / "cut.lock"

    @property
    def previews(self) -> Path:
        """Pages that show what a request would select, pictures included, to whoever decides on it."""
        return self.root / ".expunge" / "previews"

    @property
    def protocols(self) -> Path:
        """What the service of `expunge serve` keeps: its key, its certificate, and who sent what."""
        return self.root / ".expunge" / "protocols"

    @property
    def subjects(self) -> Path:
        """Keyed digests of identities, each with those of the subjects that it belongs to."""
        return self.protocols / "subjects.json"

    @property
    def purges(self) -> Path:
        """Journals of purges that are under way; a purge that has finished leaves nothing here."""
        return self.root / ".expunge" / "purge"

    def purge_journal(self, name: str) -> Path:
        """What the purge of release `name` has to do and has done."""
        return self.purges / name / JOURNAL

    @property
    def half_purged(self) -> list[str]:
        """Releases whose purge was begun and not finished."""
        return sorted(path.parent.name for path in self.purges.glob(f"*/{JOURNAL}"))

    def release(self, name: str) -> ReleasePaths:
        """Locations of release `name`, `base` included."""
        return ReleasePaths(self.root, name)


@dataclass(frozen=True)
class ReleasePaths:
    """Locations of one release."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """What git keeps of the release: its description, its DVC stages and their lock."""
        return self.root / "releases" / self.name

    @property
    def description(self) -> Path:
        return self.folder / "release.yaml"

    @property
    def pipeline(self) -> Path:
        """DVC's stages of this release."""
        return self.folder / "dvc.yaml"

    @property
    def outputs(self) -> Path:
        """What DVC keeps of a release once its stages cannot run any more, because its parent was purged."""
        return self.folder / "outputs.dvc"

    @property
    def tombstone(self) -> Path:
        """What is known of a purged release: its registration, and which purge removed it."""
        return self.folder / "purged.json"

    @property
    def sets(self) -> Path:
        return self.root / "data" / "sets" / self.name

    @property
    def forget(self) -> Path:
        return self.sets / "forget.parquet"

    @property
    def retain(self) -> Path:
        return self.sets / "retain.parquet"

    @property
    def model(self) -> Path:
        return self.root / "models" / self.name

    @property
    def attempts(self) -> Path:
        """What became of each method that was tried, where a release names several."""
        return self.root / "reports" / self.name / "attempts.json"

    @property
    def gold(self) -> Path:
        """The model retrained without the forget set of this release and its ancestors."""
        return self.root / "models" / "gold" / self.name

    @property
    def embeddings(self) -> Path:
        return self.root / "data" / "embeddings" / self.name

    @property
    def index(self) -> Path:
        return self.root / "data" / "index" / self.name

    @property
    def reports(self) -> Path:
        return self.root / "reports" / self.name

    @property
    def trained_on(self) -> Path:
        """That the catalog's splits are those of a model which was trained elsewhere."""
        return self.reports / "trained_on.json"

    @property
    def training(self) -> Path:
        """Seconds, memory and throughput of the base model's training."""
        return self.reports / "training.json"

    @property
    def training_curve(self) -> Path:
        """Loss and learning rate by step; beside the model that they belong to."""
        return self.model / "training.csv"

    @property
    def unlearning(self) -> Path:
        """Seconds, memory, parameters changed and hyper-parameters of the unlearning run."""
        return self.reports / "unlearning.json"

    @property
    def unlearning_curve(self) -> Path:
        return self.model / "unlearning.csv"

    @property
    def gold_training(self) -> Path:
        return self.reports / "gold.json"

    @property
    def gold_curve(self) -> Path:
        return self.gold / "training.csv"

    @property
    def embedding_cost(self) -> Path:
        return self.reports / "embedding.json"

    @property
    def metrics(self) -> Path:
        return self.reports / "metrics.json"

    @property
    def summary(self) -> Path:
        """The dozen figures that `dvc metrics show` and `dvc metrics diff` compare."""
        return self.reports / "summary.json"

    @property
    def similarities(self) -> Path:
        """Pair similarities by model and set, without ids, for the histograms."""
        return self.reports / "similarities.parquet"

    @property
    def nearest(self) -> Path:
        """Retained samples that the captions of forgotten ones find first, by model and request."""
        return self.reports / "nearest.parquet"

    @property
    def roc(self) -> Path:
        """ROC curves of the membership attacks, by model and signal, without ids."""
        return self.reports / "roc.parquet"

    @property
    def figures(self) -> Path:
        return self.reports / "figures"

    @property
    def page(self) -> Path:
        return self.reports / "report.html"

    @property
    def registration(self) -> Path:
        return self.reports / "registration.json"

    @property
    def purge(self) -> Path:
        """What the purge of this release and its ancestors removed, searched and found."""
        return self.reports / "purge.json"

    @property
    def certificate(self) -> Path:
        """The signed statement about this release."""
        return self.reports / "certificate.json"

    @property
    def certificate_page(self) -> Path:
        """The same statement for people."""
        return self.reports / "certificate.md"

    @property
    def request_certificates(self) -> Path:
        """One certificate per request, `REQ.json` and `REQ.md`."""
        return self.reports / "certificates"
