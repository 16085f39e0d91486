"""The text of `dvc.yaml`: what changes seldom at the root, and the stages of one release.

Both come from a template. What varies is the code that a stage depends on: the static import closure of its command
where the library's sources lie in the project, else the file that names the installed version. DVC itself fills in the
chosen source and the chosen method, so a choice that is changed by hand takes effect at once; what the chosen file
reaches beyond it is written here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any

import jinja2

from expunge.corpus.fingerprint import must_ask, watched
from expunge.corpus.settings import CatalogParams
from expunge.models.sources import model_files
from expunge.pipeline.sources import Sources
from expunge.project.library import has_sources
from expunge.project.paths import BASE, Paths
from expunge.settings import load_params

ROOM = "expunge.pipeline"
SOURCES = "expunge.corpus.sources"
METHODS = "expunge.unlearning.methods"


def root_stages(paths: Paths, corpus: CatalogParams, purged: bool = False) -> str:
    """The `dvc.yaml` of a project.

    Args:
        corpus: where its samples come from. Of a source of another package there is no file that the catalog could
            depend on.
        purged: the base model was purged: its stages are gone and the catalog is frozen.

    Raises:
        ExpungeError: a file of the library that a stage needs is missing from the project or cannot be read.
    """
    own = (paths.root.joinpath(*SOURCES.split(".")) / f"{corpus.source}.py").is_file()
    chosen = (f"{SOURCES}.{corpus.source}", f"{SOURCES.replace('.', '/')}/${{catalog.source}}.py") if own else None
    places = [json.dumps(place, ensure_ascii=False) for place in watched(corpus)]
    own_model, trained_on = _own_model(paths)
    return _rendered(
        "project.dvc.yaml.j2",
        paths,
        chosen,
        purged=purged,
        own_model=own_model,
        trained_on=trained_on,
        watched=places,
        asks=must_ask(corpus),
    )


def _own_model(paths: Paths) -> tuple[list[str], list[str] | None]:
    """Files of a model of one's own, as YAML, and of the list of what it was trained on; None where it has no list.

    The base model is stale when one of the former changes; the latter are compared with the catalog again.
    """
    if not paths.params.is_file():
        return [], None
    params = load_params(paths.params)
    said = params.train.external.trained_on if params.train.external else None
    names = model_files(paths.root, params.model, params.train)
    own, listed = (
        [json.dumps(n, ensure_ascii=False) for n in names if (n == said) is wanted] for wanted in (False, True)
    )
    return own, None if said is None else listed


def release_stages(
    paths: Paths, release: str, parent: str, method: str, gold: bool, fallbacks: Sequence[str] = ()
) -> str:
    """The `dvc.yaml` of a release that unlearns by `method`.

    It is the same for every release but for the names, and two more things: the gold standard may be left out, and the
    first release has no earlier forget set to inherit. The names are written out here, where they have been checked:
    DVC runs `cmd` in a shell, and would put there, unquoted, whatever release.yaml says by then.

    Args:
        gold: whether a gold standard is retrained.
        fallbacks: methods that are tried in turn where the first fails the gate.

    Raises:
        ExpungeError: as `root_stages`.
    """
    chosen = (f"{METHODS}.{method}", f"{METHODS.replace('.', '/')}/${{method.name}}.py")
    return _rendered(
        "release.dvc.yaml.j2",
        paths,
        chosen,
        release=release,
        parent=parent,
        gold=gold,
        first=parent == BASE,
        fallbacks=list(fallbacks),
    )


def _rendered(template: str, paths: Paths, chosen: tuple[str, str] | None, **facts: Any) -> str:
    text = (files(ROOM) / template).read_text(encoding="utf-8")
    sources = Sources(paths.root) if has_sources(paths) else None
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        undefined=jinja2.StrictUndefined,
    )
    others = [f"{METHODS}.{name}" for name in (facts.get("fallbacks") or ())]
    environment.globals["code"] = partial(_code, paths, sources, chosen, others)
    return environment.from_string(text).render(**facts)


def _code(
    paths: Paths,
    sources: Sources | None,
    chosen: tuple[str, str] | None,
    others: Sequence[str],
    step: str,
    chooses: bool = False,
) -> list[str]:
    """Files that `step` depends on for its code.

    If it `chooses`, with the chosen module, whose file DVC finds by the second name of the pair, and the modules
    `others`.
    """
    if sources is None:
        return [paths.library_version.relative_to(paths.root).as_posix()]
    command = f"expunge.steps.{step}"
    if not chooses or chosen is None:
        return sources.reached(command)
    module, spelled = chosen
    file = f"{module.replace('.', '/')}.py"
    return [spelled if path == file else path for path in sources.reached(command, module, *others)]
