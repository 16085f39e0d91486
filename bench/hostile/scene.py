"""The stand-in project of the campaign: a certified release, a list, a request that waits, settings and a pipeline."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from expunge.project.paths import Paths
from expunge.repair.state import Site
from expunge.requests.ledger import Ledger

ROOT = Path(__file__).parent.parent.parent
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))

SELECTORS = [{"kind": "class", "class_name": "face-smiling"}]


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


def build(root: Path) -> Scene:
    """Make the project under `root`."""
    from certified import certified_project, certify
    from expunge.near_duplicates import suppression
    from fake_release import SECRET_IDS

    certified_project(root)
    scene = scene_at(root)
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "dvc.yaml").write_text("stages:\n  catalog:\n    cmd: python -m expunge.steps.catalog\n")
    suppression.record_ids(scene.paths, SECRET_IDS)
    waiting = scene.ledger.add(SELECTORS, "safety", reference="T-1", by="clerk")
    scene.ledger.approve(waiting.request_id, "officer")
    for name in ("base", "r001"):
        certify(scene.paths, scene.site.params, name)
    return scene


def scene_at(root: Path) -> Scene:
    """The project that lies at `root`."""
    from certified import LEDGER
    from expunge.proof.settings import CertificateParams
    from fake_release import params_of

    paths = Paths(root)
    return Scene(root, Site(paths, params_of(root, certificate=CertificateParams(), ledger=LEDGER)))


def fresh_copies(scene: Scene, every: int = 10) -> Callable[[int], None]:
    """Puts the project back as it was after so many attempts, so that a long campaign does not build a long chain."""
    kept = scene.root.with_name(f"{scene.root.name}-kept")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(scene.root, kept)

    def fresh(number: int) -> None:
        if number and number % every == 0:
            shutil.rmtree(scene.root)
            shutil.copytree(kept, scene.root)

    return fresh
