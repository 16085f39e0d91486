"""Which library builds a project: sources that lie in it, or the installed version that the project names.

With sources, as in the library's own repository, DVC's stages depend on the files. Without, there is no file that an
upgrade would change, so every stage depends on `.expunge-version`, and no step runs under another version.
"""

from __future__ import annotations

from expunge import __version__
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.paths import Paths


def has_sources(paths: Paths) -> bool:
    """Whether the library's sources lie in the project."""
    return (paths.library / "__init__.py").is_file()


def written_for(paths: Paths) -> str | None:
    """The version that the project's stages were written for, None where no file says so."""
    path = paths.library_version
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def check_version(paths: Paths) -> None:
    """Refuse to build with another version of the library than the project's stages were written for.

    Raises:
        ExpungeError: the installed version is another one, or the project names none.
    """
    named = None if has_sources(paths) else written_for(paths)
    if not has_sources(paths) and named != __version__:
        raise ExpungeError(
            f"This project's stages are written for {f'expunge {named}' if named else 'no version of expunge'}, and "
            f"{__version__} is installed. Run `expunge stages`: it makes `dvc repro` rebuild what the upgrade changes."
        )


def acknowledge(paths: Paths) -> bool:
    """Make the installed version the one that every stage depends on; returns whether that changed anything."""
    if has_sources(paths):
        known = paths.library_version.is_file()
        paths.library_version.unlink(missing_ok=True)
        return known
    if written_for(paths) == __version__:
        return False
    write_bytes(paths.library_version, f"{__version__}\n".encode())
    return True
