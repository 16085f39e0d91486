"""A certificate as a page for people: Markdown made of the signed statement and nothing else.

Whoever has the statement can make the page again, so a page that says anything else is found out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from expunge.evaluation.metrics import GateResult
from expunge.report import words

MODELS = ("original", "unlearned", "retrained")
GROUPS = ("forget", "neighbours", "retain", "test")
SHOWN = ("image_to_text_r1", "pair_similarity")


def render(statement: Mapping[str, Any]) -> str:
    """The page of a release's or a request's statement."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expunge.report", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    absent: dict[str, Any] = {
        "made_from": [],
        "requests": [],
        "samples": None,
        "limits_of_the_gate": None,
        "not_covered": [],
    }
    predicate = absent | statement["predicate"]
    single = predicate.pop("request", None)
    content = predicate | {"requests": [single]} if single else predicate
    looser = (predicate["limits_of_the_gate"] or {}).get("looser", ())
    judged = predicate["figures"].get("gate")
    gate = GateResult.model_validate(judged) if judged else None
    return environment.get_template("certificate.md.j2").render(
        **content,
        single=single is not None,
        subject=statement["subject"],
        headline=words.headline(gate, looser),
        explanation=words.explanation(gate, predicate["figures"].get("diagnosis"), looser),
        measured=_measured(predicate["figures"]),
        words=words,
    )


def _measured(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of figures: one per set and metric, with a cell for each model that was measured."""
    models = {name: block for name, block in (figures.get("models") or {}).items() if block}
    return [
        {
            "label": f"{words.SETS[group]}: {words.METRICS[metric]}",
            "cells": [f"{models[name][group][metric]:.3f}" if name in models else "–" for name in MODELS],
        }
        for group in GROUPS
        for metric in SHOWN
        if models
    ]
