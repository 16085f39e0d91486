"""What the name of a model means where two are compared: a release, its gold standard, a method, or a folder."""

from __future__ import annotations

from pathlib import Path

import torch

from expunge.models import clip
from expunge.models.clip import WEIGHTS, Clip
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, load_release, served_method
from expunge.releases.release import MethodChoice
from expunge.settings import Params
from expunge.unlearning.again import unlearned_again
from expunge.unlearning.methods import METHODS

GOLD = "gold"


def model_folder(paths: Paths, name: str) -> Path:
    """The model that `name` means: a release, `RELEASE:gold` for its gold standard, or a folder.

    Raises:
        ExpungeError: there is no such model.
    """
    known = chain(paths)
    release, _, kind = name.partition(":")
    if name in known:
        folder = paths.release(name).model
    elif release in known and kind == GOLD:
        folder = paths.release(release).gold
    else:
        folder = paths.root / name
    if not (folder / WEIGHTS).is_file():
        raise ExpungeError(
            f"There is no model {name}; name a release ({', '.join(known)}), RELEASE:gold for the model that was "
            "retrained for it, a method or RELEASE:METHOD, or a folder with a model."
        )
    return folder


def method_asked(paths: Paths, name: str) -> tuple[str, str] | None:
    """(release, method) where `name` is METHOD, on the newest release's requests, or RELEASE:METHOD; else None.

    Raises:
        ExpungeError: a method is named before there is a release to try it on.
    """
    release, _, method = name.rpartition(":")
    known = chain(paths)
    if method not in METHODS or name in known or (release and release not in known):
        return None
    release = release or known[-1]
    if release == BASE:
        raise ExpungeError(f"A method is tried on what a release has to forget: name one, as in r001:{method}.")
    return release, method


def load_model(paths: Paths, params: Params, name: str, device: torch.device) -> Clip:
    """The model that `name` means. What a method makes that served no release is made now, and kept nowhere.

    Raises:
        ExpungeError: as `model_folder` and `method_asked`, or the release's parent was purged.
    """
    asked = method_asked(paths, name)
    if asked is None:
        return clip.load(model_folder(paths, name), device)
    release, method = asked
    served = served_method(paths, load_release(paths, release))
    if served.name == method:
        return clip.load(model_folder(paths, release), device)
    with unlearned_again(paths, params, release, MethodChoice(name=method)) as again:
        return clip.load(again.release(release).model, device)
