"""The files of a project that `expunge init` writes and its owner may change, flows and tasks among them.

They are kept once: in the library's repository they stand at the root, where they run, and `setup.py` takes them into
the wheel as `expunge/template/`. So this file imports nothing but the standard library.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FILES = (".dvcignore", ".gitignore", "flows", "params.yaml", "prefect.yaml", "tasks")
"""Files and folders, relative to a project's root."""
KEPT = ("data/.gitkeep", "models/.gitkeep", "reports/.gitkeep")
"""Empty files, so that git keeps the folders."""
FOLDER = "template"


def template_files() -> dict[str, bytes]:
    """Path in a project, with forward slashes → content."""
    package = Path(str(files("expunge")))
    folder = package / FOLDER if (package / FOLDER).is_dir() else package.parent
    found = [path for name in FILES for path in _files(folder / name)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for kind in ("*.py", "*.json") for file in path.rglob(kind))
