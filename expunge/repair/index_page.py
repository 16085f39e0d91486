"""`reports/index.html`: what is due, what failed, what to do; then requests and releases, with links to the reports.

It tells days, so no stage of DVC makes it: every command and flow that changes or shows the project writes it anew.
"""

from __future__ import annotations

import contextlib

from expunge.project.files import write_bytes
from expunge.project.pages import environment
from expunge.project.paths import Paths
from expunge.repair.overview import Overview, overview
from expunge.settings import Params


def render_index(found: Overview, paths: Paths) -> str:
    """The page as HTML; it names requests and releases by id, and links only to files that are there."""
    links = {
        line.release: {
            name: f"{line.release}/{path.name}"
            for name, path in (
                ("report", paths.release(line.release).page),
                ("certificate", paths.release(line.release).certificate_page),
            )
            if path.is_file()
        }
        for line in found.releases
    }
    return environment().get_template("index.html.j2").render(found=found, links=links)


def write_index(paths: Paths, params: Params, found: Overview | None = None) -> Overview:
    """Write the page, of what was `found` just now or is found now; a project that may not be written to keeps its old
    page."""
    found = found or overview(paths, params)
    with contextlib.suppress(PermissionError):
        write_bytes(paths.overview, render_index(found, paths).encode())
    return found
