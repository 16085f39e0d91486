"""The stand-in project of the campaign: a certified release, a list, a request that waits, a pipeline in git and DVC.

Models are a few bytes. Everything else is what a project has: the ledger, locks, certificates, lists, DVC's stages
with their locks and cache, and, where it is asked for, a record in MLflow.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge.project.paths import BASE, Paths
from expunge.repair.state import Site
from expunge.requests.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))

SELECTORS = [{"kind": "class", "class_name": "face-smiling"}]
SQLITE = "sqlite:///data/ledger.db"


@dataclass(frozen=True)
class Scene:
    """A project that a campaign may damage, and its settings."""

    root: Path
    site: Site

    @property
    def paths(self) -> Paths:
        return self.site.paths

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.site.params.ledger, self.root)

    @property
    def url(self) -> str:
        """Where the ledger is."""
        return self.site.params.ledger.url


def build(root: Path, url: str = SQLITE, recorded: bool = False) -> Scene:
    """Make the project under `root`.

    Args:
        url: of its ledger.
        recorded: make a record in MLflow as well, by the step `register`.
    """
    from certified import certify, requests_in_ledger
    from expunge.near_duplicates import suppression
    from expunge.project.files import sha256_file
    from expunge.steps.register import register
    from fake_release import SECRET_IDS, make_project

    make_project(root)
    shutil.copy(ROOT / "params.yaml", root)
    scene = scene_at(root, url)
    paths, params = scene.paths, scene.site.params
    requests_in_ledger(paths, params.ledger)
    _begin_repository(paths)
    with contextlib.chdir(root):
        fill_in(paths)
    if recorded:
        for name in (BASE, "r001"):
            register(paths, params, name)
    else:
        model = sha256_file(paths.release("r001").model / "model.safetensors")
        scene.ledger.mark_released(["req-0001", "req-0002"], "r001", model)
        suppression.record_ids(paths, SECRET_IDS)
        for name in (BASE, "r001"):
            certify(paths, params, name)
    waiting = scene.ledger.add(SELECTORS, "safety", reference="T-1", by="clerk")
    scene.ledger.approve(waiting.request_id, "officer")
    with contextlib.chdir(root):
        commit(paths)
    return scene


def _begin_repository(paths: Paths) -> None:
    """git and DVC, and the stages of the pipeline."""
    from expunge.corpus.settings import CatalogParams
    from expunge.releases.stages import bring_up_to_date

    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, paths.root / name)
    for command in (["git", "init", "--quiet", "--template="], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=paths.root, check=True)
    bring_up_to_date(paths, CatalogParams())
    someone = ["-c", "user.name=campaign", "-c", "user.email=campaign@example.org"]
    subprocess.run(["git", "add", "--all"], cwd=paths.root, check=True)
    subprocess.run(["git", *someone, "commit", "--quiet", "--message", "A project"], cwd=paths.root, check=True)


def commit(paths: Paths, target: str | None = None) -> None:
    """Let DVC record what lies here as what its stages wrote: all of them, or those of the file `target`."""
    from expunge.lineage.dvc.objects import opened

    with opened(paths) as repo:
        repo.commit(target, force=True)


def fill_in(paths: Paths) -> None:
    """Stand-ins for what stages would have written and nothing here has: DVC records every output."""
    from expunge.corpus.quarantine import write_quarantine
    from expunge.lineage.dvc.objects import opened

    with opened(paths) as repo:
        missing = [Path(out.fs_path) for out in repo.index.outs if not out.exists]
    for path in missing:
        if path.name.startswith(("certificate", "registration")):
            continue
        target = path / "figure.svg" if not path.suffix else path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path == paths.quarantine.resolve():
            write_quarantine(path, [], 0, {})  # a purge reads it
        else:
            target.write_text("{}\n")


def scene_at(root: Path, url: str = SQLITE) -> Scene:
    """The project that lies at `root`, with its ledger at `url`."""
    from expunge.requests.settings import LedgerParams
    from expunge.settings import load_params

    ledger = LedgerParams(url=url, seed=None)
    return Scene(root, Site(Paths(root), load_params(root / "params.yaml").model_copy(update={"ledger": ledger})))


class Copies:
    """Fresh copies of a project, each with a ledger of its own.

    Args:
        database: makes a copy of the ledger's database on a server and returns its URL; None where it is a file of the
            project.
    """

    def __init__(self, template: Scene, folder: Path, database: Callable[[], str] | None = None) -> None:
        self._template = template
        self._folder = folder
        self._database = database

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Scene]:
        """A copy, in whose folder this process stands while it lasts: DVC's targets are relative to it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._template.root, self._folder, symlinks=True)
        url = self._database() if self._database else self._template.url
        try:
            with contextlib.chdir(self._folder):
                yield scene_at(self._folder, url)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
