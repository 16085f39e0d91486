"""A real browser: headless Chromium, on loopback only."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, sync_playwright


def chromium() -> str:
    """The browser's command; without one the test is skipped, except in continuous integration."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing; .ci/run installs it.")
        pytest.skip("Chromium is not installed.")
    return found


@contextmanager
def started() -> Iterator[Browser]:
    """A browser that playwright drives; other machines cannot be reached from it."""
    outside = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", outside]
        )
        yield found
        found.close()


def page_says(script: str) -> str:
    """What `script`, whose last expression may await, gives on a page of an origin of its own."""
    *before, last = script.strip().rsplit(";", 1)
    body = "".join(f"{part};" for part in before)
    page = (
        "<!doctype html><title>x</title><pre id=said>waiting</pre><script>(async () => {"
        f"try {{ {body} document.getElementById('said').textContent = 'said:' + ({last}); }}"
        " catch (error) { document.getElementById('said').textContent = 'said:' + error; }})()</script>"
    )

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    try:
        with tempfile.TemporaryDirectory() as profile:
            shown = subprocess.run(
                [
                    chromium(),
                    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
                    # The browser's own errands would leave this machine.
                    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
                    f"--user-data-dir={profile}",
                    *("--virtual-time-budget=20000", "--dump-dom", f"http://127.0.0.1:{site.server_port}/"),
                ],
                capture_output=True,
                text=True,
                timeout=240,
            ).stdout
    finally:
        site.shutdown()
        thread.join()
        site.server_close()
    said = re.search(r"<pre id=\"said\">said:(.*?)</pre>", shown, re.DOTALL)
    assert said, shown[-2000:]
    return html.unescape(said.group(1))
