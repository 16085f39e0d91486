"""The small files in git that describe a release."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from expunge.project.paths import BASE
from expunge.project.schema import Block
from expunge.requests.request import DeletionRequest

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class MethodChoice(Block):
    """The unlearning method of a release; `params` override the method's block in params.yaml."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Release(Block):
    """The content of `release.yaml`."""

    release: str
    parent: str
    method: MethodChoice
    fallbacks: tuple[MethodChoice, ...] = Field((), description="tried in turn where the method fails the gate")
    gold: bool = Field(True, description="also retrain without the forget set, to compare with")
    requests: tuple[DeletionRequest, ...] = Field(min_length=1)

    @property
    def rungs(self) -> tuple[MethodChoice, ...]:
        """The methods in the order in which they are tried."""
        return (self.method, *self.fallbacks)

    @field_validator("fallbacks")
    @classmethod
    def _none_twice(cls, fallbacks: tuple[MethodChoice, ...], info: ValidationInfo) -> tuple[MethodChoice, ...]:
        first = [info.data["method"]] if "method" in info.data else []
        names = [choice.name for choice in (*first, *fallbacks)]
        if len(set(names)) < len(names):
            raise ValueError("a method stands twice on the ladder; name each once")
        return fallbacks

    @field_validator("release")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        check_name(name)
        return name

    @field_validator("parent")
    @classmethod
    def _plain_parent(cls, name: str) -> str:
        if name != BASE:
            check_name(name)
        return name


class Live(Block):
    """The content of `live.yaml`; DVC reads it too, beside params.yaml, so its key is not the name of a block."""

    live: str

    @field_validator("live")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name != BASE:
            check_name(name)
        return name


def check_name(name: str) -> None:
    """Raises `ValueError` unless `name` can be a folder and an MLflow tag: it becomes part of paths."""
    if not NAME.fullmatch(name) or name in (BASE, "gold", "live"):
        raise ValueError(f"a release name is lower-case letters, digits and dashes, not {name!r}")
