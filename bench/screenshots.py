"""The picture of a report in the README, from a project that has run: `python -m bench.screenshots PROJECT`.

Writes docs/images/report.png, the first screen and a half of the newest release's report. Needs Chromium and the extra
`dev`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.releases.chain import live_release

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1120, 1380


def shoot(project: Path) -> Path:
    """Take the picture and return its path.

    Raises:
        ExpungeError: there is no browser, or the project has no report yet.
    """
    paths = Paths(project.resolve())
    page = paths.release(live_release(paths)).page
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not page.is_file():
        raise ExpungeError(f"{page} is missing; run `dvc repro` in the project.")
    if browser is None:
        raise ExpungeError("Chromium is missing; install it.")
    with sync_playwright() as started:
        window = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1.5)
        tab.goto(page.as_uri())
        tab.screenshot(path=str(PICTURE))
        window.close()
    return PICTURE


if __name__ == "__main__":
    print(shoot(Path(sys.argv[1])))
