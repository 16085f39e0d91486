"""`expunge init`: a project of one's own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from expunge.commands.own_data import DEMO, own_catalog
from expunge.commands.own_model import own_model, picture_size, profiles
from expunge.commands.own_model import profile as settings_of
from expunge.commands.own_params import GENERAL_MODEL, merged, own_settings
from expunge.commands.questions import Told, ask
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import known_sources
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.paths import BASE, Paths
from expunge.project.schema import checked
from expunge.settings import Params

IGNORED = (".dvcignore", ".gitignore")
"""Files of which a folder may have its own: our lines are added to them."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder; made if it is not there.")],
    source: Annotated[str | None, typer.Option(help=f"Where samples come from: {', '.join(known_sources())}.")] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Its data: a path, a glob or an address.")] = None,
    captions: Annotated[str | None, typer.Option(metavar="FILE", help="A table or JSON file of captions.")] = None,
    columns: Annotated[
        str | None, typer.Option("--map", metavar="FIELD=COLUMN,…", help="Such as caption=title,subject=user_id.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="An open_clip architecture, hf-hub:OWNER/NAME, or a folder.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="What training begins from: file, folder or open_clip tag."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    profile: Annotated[str | None, typer.Option(help=f"Settings to start from: {', '.join(profiles())}.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, also where the folder is not empty.")] = False,
) -> None:
    """Make a project: settings, pipeline, flows, an empty ledger, git and DVC; nothing is built yet."""
    from expunge.project.template import KEPT, template_files

    paths = Paths(folder)
    chosen = settings_of(profile)
    told = Told(source or chosen.get("catalog", {}).get("source"), data, captions, model, pretrained, device)
    if sys.stdin.isatty() and not yes:
        told = ask(folder, told, has_model="model" in chosen)
    said_of_model = own_model(folder, told.model, told.pretrained, told.device)
    changes = merged({key: value for key, value in chosen.items() if key != "model" or not told.model}, said_of_model)
    catalog = own_catalog(folder, told.source or DEMO, told.data, told.captions, columns)
    guessed = "model" not in changes and catalog.source != DEMO
    if named := changes.get("model", {}).get("name"):
        catalog = catalog.model_copy(update={"image_size": picture_size(folder, named)})
    files = template_files() | dict.fromkeys(KEPT, b"") | {"releases/live.yaml": f"live: {BASE}\n".encode()}
    settings = own_settings(files.pop("params.yaml").decode(), catalog, _besides_source(changes))
    checked(Params, yaml.safe_load(settings), "params.yaml")
    _check_room(paths, files, yes)
    for name, content in files.items():
        write_bytes(folder / name, _merged(folder / name, content) if name in IGNORED else content)
    _build(paths, settings, catalog)
    typer.echo(f"A project is in {folder}. Look next:")
    for command, purpose in (
        (f"cd {shlex.quote(str(folder))}", ""),
        ("edit params.yaml", "the source, the model and its training, where certificates get their keys"),
        ("git add --all && git commit", "the project as it is"),
        ("dvc repro", "builds the catalog, the base model, its embeddings and its index"),
        ("expunge request add --help", "records the first deletion request"),
    ):
        typer.echo(f"  {command:<33}{purpose}".rstrip())
    if guessed:
        typer.echo(
            f"No --model was named: params.yaml has {GENERAL_MODEL} from random weights, trained on this data alone. "
            "If you have a checkpoint, name it there: `model: {name: …, pretrained: …}`, or as "
            "`train.external.checkpoint` where it is finished."
        )


def _besides_source(changes: dict[str, Any]) -> dict[str, Any]:
    """Without the source, which the settings name by now, and without blocks that say nothing else."""
    catalog = {key: value for key, value in changes.get("catalog", {}).items() if key != "source"}
    others = {block: values for block, values in changes.items() if block != "catalog"}
    return others | ({"catalog": catalog} if catalog else {})


def _check_room(paths: Paths, files: dict[str, bytes], yes: bool) -> None:
    """Refuse a folder where something would be overwritten; ask before a folder that is not empty is made a project."""
    root = paths.root
    if paths.params.exists():
        raise ExpungeError(f"{root} has a project already ({paths.params.name} is there); choose another folder.")
    if root.exists() and not root.is_dir():
        raise ExpungeError(f"{root} is a file; choose another name for the project's folder.")
    if taken := [name for name, content in files.items() if name not in IGNORED and _differs(root / name, content)]:
        raise ExpungeError(
            f"{root} has files that a project needs for itself: {', '.join(taken)}. Choose another folder."
        )
    if yes or not root.exists() or all(path.name == ".git" for path in root.iterdir()):
        return
    if not sys.stdin.isatty():
        raise ExpungeError(f"{root} is not empty; add --yes to make it a project, beside what is there.")
    typer.confirm(f"{root} is not empty. Make it a project, beside what is there?", abort=True)


def _build(paths: Paths, settings: str, catalog: CatalogParams) -> None:
    """What is not a copy; params.yaml comes last of the files, so that an interrupted run can be repeated."""
    from expunge.lineage.repositories import create_repositories
    from expunge.project.library import acknowledge
    from expunge.releases.stages import bring_up_to_date
    from expunge.requests.ledger import Ledger
    from expunge.settings import load_params

    create_repositories(paths.root)
    bring_up_to_date(paths, catalog)
    acknowledge(paths)
    write_bytes(paths.params, settings.encode())
    bring_up_to_date(paths, catalog)  # once more: files of a model of one's own are known by now
    Ledger.open(load_params(paths.params).ledger, paths.root)


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def _merged(path: Path, content: bytes) -> bytes:
    """The lines that are there, then those of ours that are missing."""
    if not path.is_file():
        return content
    own = path.read_text(encoding="utf-8")
    missing = [line for line in content.decode().splitlines() if line and line not in own.splitlines()]
    return "\n".join([own.rstrip("\n"), *missing, ""]).encode() if missing else own.encode()
