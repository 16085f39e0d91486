"""What a module of the library reaches: its static import closure, and the package data that it names.

Sources are read, never imported, so the answer is about the files in the project, whichever library runs. Imports
inside functions count, those under `TYPE_CHECKING` do not; a module brings the `__init__` files of its packages along.
A file of package data counts where its name stands as a string in a module, or in a template that counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jinja2
from jinja2.meta import find_referenced_templates

from expunge.project.errors import ExpungeError

PACKAGE = "expunge"
TEMPLATE = ".j2"


class Sources:
    """The library's files under `root / "expunge"`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read = cache(self._parsed)
        self._data: dict[str, list[Path]] = {}
        for path in sorted((root / PACKAGE).rglob("*")):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                self._data.setdefault(path.name, []).append(path)

    def reached(self, *modules: str) -> list[str]:
        """Files that `modules` need, themselves included: paths relative to the root, sorted.

        Raises:
            ExpungeError: one of `modules` has no file here, or a file is not valid Python or Jinja.
        """
        for module in modules:
            if self._file(module) is None:
                raise ExpungeError(f"{self._root / PACKAGE} has no module {module}; restore it from git.")
        found: set[Path] = set()
        waiting = [path for module in modules for path in self._files(module)]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found.add(path)
                waiting.extend(self._read(path))
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def _parsed(self, path: Path) -> frozenset[Path]:
        """The files that one file names."""
        if path.suffix not in (".py", TEMPLATE):
            return frozenset()
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == TEMPLATE:
                names = find_referenced_templates(jinja2.Environment(autoescape=True).parse(text))
                return frozenset(file for name in names if name for file in self._data.get(name, []))
            visitor = _Names(path.relative_to(self._root))
            visitor.visit(ast.parse(text))
        except (SyntaxError, UnicodeDecodeError, jinja2.TemplateSyntaxError) as error:
            raise ExpungeError(f"{path} cannot be read: {error}.") from None
        data = (file for name in visitor.strings for file in self._data.get(name.rpartition("/")[2], []))
        return frozenset(data) | frozenset(file for name in visitor.modules for file in self._files(name))

    def _files(self, module: str) -> Iterator[Path]:
        """The file of a module and those of its packages; nothing where `module` is a name inside of a module."""
        parts = module.split(".")
        if parts[0] == PACKAGE:
            for end in range(1, len(parts) + 1):
                if path := self._file(".".join(parts[:end])):
                    yield path

    def _file(self, module: str) -> Path | None:
        stem = self._root.joinpath(*module.split("."))
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


class _Names(ast.NodeVisitor):
    """The dotted names that one file imports, and its strings."""

    def __init__(self, file: Path) -> None:
        self.modules: set[str] = set()
        self.strings: set[str] = set()
        self._package = file.parent.parts

    def visit_Import(self, node: ast.Import) -> None:
        self.modules.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._package[: len(self._package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        # What is imported from a package may be a module of it or a name in its `__init__`; only the former has a file.
        self.modules.update(f"{module}.{alias.name}" for alias in node.names)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in (getattr(node.test, "id", None), getattr(node.test, "attr", None)):
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)
