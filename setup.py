"""What pyproject.toml cannot say: the wheel takes the files of a project along, from where they stand here.

`expunge init` writes them; see expunge/project/template.py, which is run here, not imported, since the library's
dependencies are not there yet.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TEMPLATE = runpy.run_path("expunge/project/template.py")


class BuildWithTemplate(build_py):
    """Adds `expunge/template/`, but for editable installs, which read the repository's own files."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib) / "expunge" / TEMPLATE["FOLDER"]
        for name in TEMPLATE["FILES"]:
            source, target = Path(name), folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithTemplate})
