"""The questions of `expunge init`: on a terminal, what the flags did not say is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from expunge.commands.own_data import CAPTIONED, DEMO, from_project, known_source
from expunge.commands.own_model import DEVICES, brings_weights, known_device, known_model, known_weights
from expunge.commands.own_params import GENERAL_MODEL
from expunge.corpus.sources import known_sources
from expunge.project.errors import ExpungeError


@dataclass(frozen=True)
class Told:
    """What is known of a new project: what the flags said, then the answers. None: not said."""

    source: str | None = None
    data: str | None = None
    captions: str | None = None
    model: str | None = None
    pretrained: str | None = None
    device: str | None = None


def ask(root: Path, told: Told, has_model: bool) -> Told:
    """Ask for what was not said; an answer that cannot be used is said so and asked for again.

    Args:
        has_model: the profile names a model.
    """
    return _about_model(root, _about_data(root, told), has_model)


def _about_data(root: Path, told: Told) -> Told:
    def place(setting: str) -> Callable[[str], str]:
        return lambda answer: from_project(root, answer, setting)

    source = told.source or _asked(f"Where do samples come from? ({', '.join(known_sources())})", known_source, DEMO)
    told = replace(told, source=source)
    if source == DEMO or source not in known_sources():
        return told
    if told.data is None:
        question = "Where does the data lie? (a path, a glob or an address such as s3://…)"
        told = replace(told, data=_asked(question, place("data")))
    if told.captions is None and source in CAPTIONED:
        told = replace(told, captions=_asked("Which file holds the captions?", place("captions")))
    elif told.captions is None and source == "folder":
        question = "Which table holds the captions? (empty: none, or metadata.csv there)"
        told = replace(told, captions=_asked(question, place("captions"), "") or None)
    return told


def _about_model(root: Path, told: Told, has_model: bool) -> Told:
    if told.model is None and not has_model:
        empty = "the demo's small one" if told.source == DEMO else f"{GENERAL_MODEL}, from random weights"
        question = f"Which model? (an architecture of open_clip, hf-hub:OWNER/NAME, a folder; empty: {empty})"
        told = replace(told, model=_asked(question, lambda name: known_model(root, name), "") or None)
    if (name := told.model) is not None and told.pretrained is None and not brings_weights(name):
        question = "What does its training begin from? (a file, a folder or a tag of open_clip; empty: random weights)"
        found = _asked(question, lambda weights: known_weights(root, name, weights), "")
        told = replace(told, pretrained=found or None)
    if told.device is None:
        told = replace(told, device=_asked(f"Which device? ({', '.join(DEVICES)})", known_device, "auto"))
    return told


def _asked(question: str, check: Callable[[str], str], default: str | None = None) -> str:
    """An answer as it was typed, once `check` takes it; an empty one needs no check."""
    while True:
        answer = str(typer.prompt(question, default=default, show_default=bool(default))).strip()
        try:
            if answer:
                check(answer)
            return answer
        except ExpungeError as error:
            typer.echo(error, err=True)
