"""Pictures of the pages of a project that has run, made for looking at: `python -m bench.screenshots PROJECT [FOLDER]`.

Without a folder it writes docs/images/report.png for the README: the first screen and a half of the newest release's
report. With one, every page of the project, whole, on a screen and a phone, light and dark, and as a PDF as printed.
Needs Chromium and the extra `dev`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.releases.chain import chain, live_release

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1120, 1380
VIEWS: dict[str, tuple[int, Literal["light", "dark"]]] = {
    "screen": (1280, "light"),
    "dark": (1280, "dark"),
    "phone": (390, "light"),
}


def shoot(project: Path) -> Path:
    """Take the picture and return its path.

    Raises:
        ExpungeError: there is no browser, or the project has no report yet.
    """
    paths = Paths(project.resolve())
    page = paths.release(live_release(paths)).page
    if not page.is_file():
        raise ExpungeError(f"{page} is missing; run `dvc repro` in the project.")
    with browser() as window:
        tab = window.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        tab.goto(page.as_uri())
        tab.screenshot(path=str(PICTURE))
    return PICTURE


def shoot_all(project: Path, folder: Path) -> list[Path]:
    """Take every view of every page of a project and return their paths.

    Raises:
        ExpungeError: there is no browser.
    """
    paths = Paths(project.resolve())
    pages = [paths.overview, *paths.previews.glob("*.html"), *paths.comparisons.glob("*.html")]
    pages += [paths.release(name).page for name in chain(paths)]
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with browser() as window:
        for page in filter(Path.is_file, pages):
            name = f"{page.parent.name}-{page.stem}"
            for view, (width, scheme) in VIEWS.items():
                tab = window.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                tab.goto(page.as_uri())
                made.append(folder / f"{name}-{view}.png")
                tab.screenshot(path=str(made[-1]), full_page=True)
                if view == "screen":
                    made.append(folder / f"{name}.pdf")
                    tab.pdf(path=str(made[-1]), format="A4")
                tab.close()
    return made


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window.

    Raises:
        ExpungeError: it is not installed.
    """
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        raise ExpungeError("Chromium is missing; install it.")
    with sync_playwright() as started:
        window = started.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield window
        window.close()


if __name__ == "__main__":
    project, *folder = map(Path, sys.argv[1:])
    for picture in shoot_all(project, folder[0]) if folder else [shoot(project)]:
        print(picture)
