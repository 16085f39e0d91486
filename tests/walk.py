"""Walks through the documentation: a page's commands are typed from top to bottom, as a reader would.

A page speaks a small language:

- ```` ```console ```` holds commands after `$ ` and, below each, lines of what it prints; `…` in such a line stands for
  what differs from run to run.
- ```` ```yaml title="alerts.yaml" ```` is a file that the reader writes there; `params.yaml` is changed, not replaced.
- `<!-- not run: REASON -->` before a block says why no test types it.

`WALKS` names who walks where; `test_docs.py` holds that every block of every page is in one of them.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from project import ROOT, search_path

FENCE = re.compile(
    r"^#{1,6} (?P<heading>[^\n]+)$|"
    r'(?:^<!-- not run: (?P<reason>[^\n]+) -->\n+)?^```(?P<kind>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.M | re.S,
)
SERVERS = ("expunge serve", "python -m flows.serve")
"""Commands that go on until they are stopped; a walk waits for what the page says that they print."""
ASKING = ("expunge purge", "expunge restore")
"""Commands that ask on a terminal before they destroy anything."""
PATIENCE = 600

WALKS = {
    "tutorial": [("docs/tutorial.md", None)],
    "demo": [("README.md", ("Two commands", "Serve a request", "Prove it"))],
    "server": [("docs/how-to/schedule.md", None), ("README.md", ("Nightly, with Prefect",)), ("docs/alerts.md", None)],
    "formats": [("docs/data.md", None)],
    "own": [("docs/how-to/own.md", None)],
    "own, in short": [("README.md", ("On your own data",))],
    "extending": [("docs/extending.md", None)],
    "keep": [("docs/how-to/keep.md", None)],
    "grow": [("docs/how-to/grow.md", None)],
    "protocols": [("docs/protocols.md", None)],
}
"""Walk → its pages in order, each with the headings whose blocks it takes, or None for all."""


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: its path from the repository's root.
        heading: what it stands under.
        kind: the language after the fence.
        title: the file that it is, or None.
        reason: why it is not run, or None.
    """

    page: str
    heading: str
    kind: str
    title: str | None
    reason: str | None
    text: str

    @property
    def steps(self) -> Iterator[tuple[str, list[str]]]:
        """The commands, here-documents included, each with the lines that the page shows as its output."""
        found: list[tuple[str, list[str]]] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if line.startswith("> ") and not found[-1][1]:  # a command of several lines, as a shell shows it
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
                continue
            if not line.startswith("$ "):
                found[-1][1].append(line)
                continue
            command = line[2:]
            if here := re.search(r"<<'(\w+)'", command):
                for more in lines:
                    command += f"\n{more}"
                    if more == here.group(1):
                        break
            found.append((command, []))
        return iter(found)


def blocks(page: str) -> list[Block]:
    """The blocks of code on a page, in order."""
    found, heading = [], ""
    for one in FENCE.finditer((ROOT / page).read_text(encoding="utf-8")):
        if one["heading"]:
            heading = one["heading"]
        else:
            found.append(Block(page, heading, one["kind"], one["title"], one["reason"], one["text"]))
    return found


def shows(printed: str, line: str) -> bool:
    """Whether a line of a page is in what was printed."""
    return re.search(".*".join(map(re.escape, line.strip().split("…"))), printed) is not None


@dataclass
class Walk:
    """Somebody who types what the pages say, in one shell.

    Attributes:
        where: the folder that the shell is in.
        environment: of the shell, beyond that of the tests; what a command exports stays.
        instead: what stands on a page → what it is here: paths, addresses, ports.
        after: the beginning of a command → what has to be done after it, in the folder where the shell is then.
    """

    where: Path
    environment: dict[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    typed: int = 0
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: dict[int, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = os.environ | {"PATH": search_path(), "PYTHONPATH": str(ROOT)} | self.environment

    def take(self, name: str) -> None:
        """Walk through the pages of a walk."""
        for page, headings in WALKS[name]:
            self.page(page, headings)

    def page(self, page: str, headings: tuple[str, ...] | None = None) -> None:
        """Walk through a page, or the blocks under some of its headings."""
        for block in blocks(page):
            if block.reason or (headings and block.heading not in headings):
                continue
            if block.title:
                self._write(block.title, self._here(block.text))
            elif block.kind == "console":
                for command, expected in block.steps:
                    self.type(self._here(command), [self._here(line) for line in expected])

    def type(self, command: str, expected: list[str]) -> str:
        """Run a command and compare what it prints; returns that."""
        self.typed += 1
        printed = (self._serve if command.startswith(SERVERS) else self._run)(command, expected)
        for line in expected:
            assert shows(printed, line), f"{command}\ndoes not print: {line}\nbut:\n{printed}"
        for beginning, then in self.after.items():
            if command.startswith(beginning):
                then(self.where)
        return printed

    def log(self, server: subprocess.Popen[bytes]) -> str:
        """What a server has printed so far."""
        return self.logs[server.pid].read_text()

    def close(self) -> None:
        """Stop the servers that still run, as Ctrl-C does."""
        for server in self.servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
                server.wait(timeout=60)

    def _here(self, text: str) -> str:
        for there, here in self.instead.items():
            text = text.replace(there, here)
        return text

    def _write(self, title: str, text: str) -> None:
        path = self.where / title
        if title.endswith("params.yaml"):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            for name, values in yaml.safe_load(text).items():
                content[name] = content[name] | values if isinstance(content.get(name), dict) else values
            text = yaml.safe_dump(content, sort_keys=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _run(self, command: str, expected: list[str]) -> str:
        # The shell says at its end where it is and what is exported, and the next one begins there.
        said = self.where.parent / "shell"
        script = f'{command}\nstatus=$?\n{{ pwd; env --null; }} >{shlex.quote(str(said))}\nexit "$status"'
        asked, answers = pty.openpty() if command.startswith(ASKING) else (None, subprocess.DEVNULL)
        if asked is not None:
            os.write(asked, b"y\n")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.where,
            env=self.environment,
            stdin=answers,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        folder, _, exported = said.read_text().partition("\n")
        if asked is not None:
            os.close(asked)
            os.close(answers)
        self.where = Path(folder)
        self.environment = dict(one.split("=", 1) for one in exported.split("\0") if one)
        return done.stdout + done.stderr

    def _serve(self, command: str, expected: list[str]) -> str:
        log = self.where.parent / f"server-{len(self.servers)}.log"
        with open(log, "w") as stream:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.where,
                # A fork would not hear the signal that stops the server.
                env=self.environment | {"PYTHONUNBUFFERED": "1", "PATH": self.environment["PATH"].partition(":")[2]},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.servers.append(server)
        self.logs[server.pid] = log
        deadline = time.monotonic() + PATIENCE
        while not all(shows(self.log(server), line) for line in expected) and time.monotonic() < deadline:
            assert server.poll() is None, self.log(server)
            time.sleep(0.2)
        return self.log(server)
