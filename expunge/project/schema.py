"""The ground of all settings: frozen blocks that refuse keys they do not know, read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expunge.project.errors import ExpungeError
from expunge.project.reading import MAX_BYTES, read_plain, strict_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]


Positive = Annotated[float, Field(gt=0)]


Count = Annotated[int, Field(ge=1)]


Model = TypeVar("Model", bound=BaseModel)


class Block(BaseModel):
    """A frozen block of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validated(model: type[Model], path: Path) -> Model:
    """Read a YAML file into `model`.

    Raises:
        ExpungeError: the file is missing, is not YAML, or breaks the schema; the message names each offending key
            and what is allowed there.
    """
    try:
        content = strict_yaml(read_plain(path, MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing; run this command in the project's folder.") from None
    except OSError as error:
        raise ExpungeError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise ExpungeError(f"{path} is not valid YAML{place}: {getattr(error, 'problem', error)}.") from None
    if not isinstance(content, dict):
        raise ExpungeError(f"{path} must be a mapping of settings, not {type(content).__name__}.")
    return checked(model, content, str(path))


def checked(model: type[Model], content: object, what: str) -> Model:
    """Settings that were read, as `model`.

    Raises:
        ExpungeError: they break the schema; the message begins with `what`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ExpungeError(f"{what}: {explain(error)}") from None


def explain(error: ValidationError, values: bool = True) -> str:
    """One clause per mistake: the key, what is wrong, and what was given, unless `values` must not be shown."""
    clauses = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(top level)"
        problem = item["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        given = (
            "" if not values or item["type"] in ("missing", "extra_forbidden") else f" (given: {item['input']!r:.80})"
        )
        clauses.append(f"{key}: {problem}{given}")
    return "; ".join(clauses) + "."
