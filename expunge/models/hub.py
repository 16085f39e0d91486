"""What open_clip takes from elsewhere, without hanging where there is no way out.

huggingface_hub asks again and again for most of a minute before it gives up. So the hub is asked once, for a few
seconds; where it does not answer, only what was downloaded earlier is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from expunge.models.files import CONFIG
from expunge.models.network import open_clip
from expunge.project.errors import ExpungeError, one_line

PATIENCE = 5.0
"""Seconds that the hub is given to answer."""


def download(repository: str, names: Iterable[str]) -> dict[str, Path]:
    """Those of the files `names` that a repository of the hub has, or had when it was last reached.

    Raises:
        ExpungeError: there is none of them.
    """
    found: dict[str, Path] = {}
    with _hub(repository) as answers:
        try:
            there = set(huggingface_hub.list_repo_files(repository)) if answers else set(names)
        except Exception as error:
            raise _missing(repository, answers, error) from None
        for name in sorted(set(names) & there):
            try:
                found[name] = Path(huggingface_hub.hf_hub_download(repository, name, local_files_only=not answers))
            except Exception as error:
                if answers:
                    raise _missing(repository, answers, error) from None
    if not found:
        raise _missing(repository, answers, None)
    return found


def published_weights(name: str, tag: str) -> Path | None:
    """The file of the weights that open_clip lists for architecture `name` under `tag`; None where it lists none.

    Raises:
        ExpungeError: it is neither here nor to be had.
    """
    cfg: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
    if not cfg:
        return None
    label = f"{tag} of {name}"
    with _hub(label) as answers:
        try:
            return Path(open_clip.download_pretrained(cfg if answers else _cached_only(cfg)))
        except Exception as error:
            raise _missing(label, answers, error) from None


def repository_model(repository: str) -> tuple[Path, Path]:
    """`open_clip_config.json` and the weights of a repository of the hub.

    Raises:
        ExpungeError: they are neither here nor to be had.
    """
    config = download(repository, [CONFIG])[CONFIG]
    with _hub(repository) as answers:
        try:
            return config, Path(open_clip.pretrained.download_pretrained_from_hf(repository))
        except Exception as error:
            raise _missing(repository, answers, error) from None


def _cached_only(cfg: dict[str, Any]) -> dict[str, Any]:
    """Without the plain address, which open_clip would wait for; the hub's own library looks into its cache."""
    return {key: value for key, value in cfg.items() if key != "url"}


@contextmanager
def _hub(wanted: str) -> Iterator[bool]:
    """Inside the block the hub's library asks nobody if nobody answers; yields whether somebody does."""
    answers = not constants.HF_HUB_OFFLINE and _answers()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers
    try:
        yield answers
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers() -> bool:
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:
        return False
    return True


def _missing(wanted: str, answers: bool, error: Exception | None) -> ExpungeError:
    why = (
        f"{constants.ENDPOINT} does not answer" if not answers else one_line(error) if error else "it has no such file"
    )
    return ExpungeError(
        f"{wanted} is not on this machine and cannot be downloaded ({why}). Download it where there is a way out, and "
        "name the file or folder in params.yaml (model.pretrained, model.tokenizer, or model.name: local-dir:FOLDER)."
    )
