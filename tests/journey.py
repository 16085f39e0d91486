"""The way of one's own data, from nothing to a purged release: the same for every format and way to run commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import sys
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path
from runpy import run_module
from typing import Any

import pyarrow.parquet as pq
import pytest
from dvc.stage.exceptions import StageCmdFailedError

import formats
from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import normalised
from formats import Row
from project import own_params, run, write_params

Theirs = Callable[[Path, list[Row]], list[str]]
"""Writes a corpus in a folder and returns the flags of `expunge init` that name it."""
SUBJECT = "s-01"
"""Of the samples 3, 4 and 5."""


def folder_of_pictures(folder: Path, rows: list[Row]) -> list[str]:
    """With a line that names a picture which is not there."""
    said = formats.folder_csv(folder, rows)
    with open(said["captions"], "a", encoding="utf-8") as table:
        table.write("no-such-picture.png,nobody,s-99\n")
    return ["--source", "folder", "--data", said["data"], "--captions", said["captions"], "--map", "subject=subject"]


def webdataset(folder: Path, rows: list[Row]) -> list[str]:
    """One sample of the person who is forgotten stands in two archives."""
    said = formats.webdataset(folder, rows)
    with tarfile.open(folder / "00000.tar") as archive, tarfile.open(folder / "00002.tar", "w") as again:
        for member in archive.getmembers():
            if member.name.startswith(f"{rows[3].name}."):
                again.addfile(member, archive.extractfile(member))
    return ["--source", "webdataset", "--data", said["data"]]


def parquet(folder: Path, rows: list[Row]) -> list[str]:
    """With the last row twice."""
    said = formats.table_parquet(folder, [*rows, rows[-1]])
    return ["--source", "table", "--data", said["data"], "--map", "caption=caption,subject=subject"]


def karpathy(folder: Path, rows: list[Row]) -> list[str]:
    """With a key of their own for the person, as the format allows, and a picture that is not there."""
    said = formats.flickr30k(folder, rows)
    table = Path(said["captions"])
    content = json.loads(table.read_text(encoding="utf-8"))
    for image, row in zip(content["images"], rows, strict=True):
        image["photographer"] = row.subject
    table.write_text(json.dumps(content), encoding="utf-8")
    (Path(said["data"]) / f"{rows[-1].name}.png").unlink()
    named = ["--captions", said["captions"], "--map", "subject=photographer"]
    return ["--source", "flickr30k", "--data", said["data"], *named]


def walk(folder: Path, theirs: Theirs, say: Callable[..., str]) -> Path:
    """Go the whole way in `folder / "project"` and return it.

    Args:
        say: runs a command in a folder and returns what it printed; a failure is an exception.
    """
    rows, project = formats.corpus(120), folder / "project"
    say(folder, "expunge", "init", "project", *theirs(folder / "theirs", rows))
    write_params(project, own_params(project))
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "Ours")
    say(project, "dvc", "repro")
    assert len(quarantine(project)) == 1
    before = Catalog(project / "data" / "catalog").metadata.to_pylist()
    gone = {row["sample_id"] for row in before if row["subject_id"] == SUBJECT}
    assert len(gone) == 3

    request = say(project, "expunge", "request", "add", "--subject", SUBJECT, "--basis", "gdpr-art17").split()[-1]
    say(project, "expunge", "request", "approve", request, "--by", "tests")
    say(project, "expunge", "release")
    assert request in say(project, "expunge", "certificate", "show", "r001", "--request", request)
    assert (project / "reports" / "r001" / "report.html").stat().st_size > 10_000
    say(project, "expunge", "purge", "r001", "--yes")
    assert "is as certified" in say(project, "expunge", "verify", "r001")
    assert "up to date" in say(project, "dvc", "status")

    assert set(Catalog(project / "data" / "catalog").ids) == {row["sample_id"] for row in before} - gone
    assert not [row for row in quarantine(project) for name in gone if name in row["location"] + row["detail"]]
    hidden = normalised(rows[3].picture, 32)[0]
    assert not [path for path in project.rglob("*") if path.is_file() and hidden in path.read_bytes()]
    return project


def quarantine(project: Path) -> list[dict[str, str]]:
    return pq.read_table(project / "data" / "quarantine.parquet").to_pylist()


class OneProcess:
    """Runs commands in this process, so that nothing is imported twice; the Prefect flow and DVC's stages included.

    Flows and tasks are those of the first project that asks for them; every project has the same.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        patch.setattr("dvc.stage.run._run", self._stage)

    def __call__(self, folder: Path, program: str, *words: str) -> str:
        self._patch.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            if program == "dvc":
                from dvc.cli import main

                assert main(list(words)) == 0, words
            elif words == ("release",):
                self._patch.syspath_prepend(folder)
                from flows.release import release

                state = release(return_state=True)
                assert state.is_completed(), state.message
            else:
                from expunge.cli import app

                app(list(words), standalone_mode=False)
        return told.getvalue()

    def _stage(self, executable: str | None, command: str, **_: Any) -> None:
        """What DVC would start as a process of its own."""
        python, flag, module, release = shlex.split(command.partition("#")[0])
        assert (python, flag) == ("python", "-m")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [module, release])
            patch.delitem(sys.modules, module, raising=False)  # a process of its own would have none
            try:
                run_module(module, run_name="__main__")
            except SystemExit as ended:
                raise StageCmdFailedError(command, ended.code) from None


def main() -> None:
    """Walk for each line of the standard input, a format and a folder, and answer with one line: `done`, or why not.

    All lines are JSON; the first says where the library was found. What programs print goes to the standard error.
    """
    import expunge

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(text: str) -> None:
        print(json.dumps(text), file=answers, flush=True)

    with pytest.MonkeyPatch.context() as patch:
        say = OneProcess(patch)
        answer(expunge.__file__)
        for line in sys.stdin:
            name, folder = json.loads(line)
            try:
                walk(Path(folder), {"webdataset": webdataset, "parquet": parquet, "karpathy": karpathy}[name], say)
                answer("done")
            except BaseException:
                answer(traceback.format_exc())


if __name__ == "__main__":
    main()
