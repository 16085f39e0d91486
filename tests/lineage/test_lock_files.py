"""DVC's lock files and git's commit, read without either."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from expunge.lineage.dvc.locks import data_version, read_locks
from expunge.lineage.git import git_commit
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from fake_release import make_project

pytestmark = pytest.mark.slow


def test_lock_digests_are_read_as_text_even_if_they_look_like_numbers(tmp_path):
    paths = make_project(tmp_path)
    lock = {"stages": {"catalog": {"outs": [{"path": "data/catalog", "md5": "1" * 32}]}}}
    write_bytes(tmp_path / "dvc.lock", yaml.safe_dump(lock).replace("'", "").encode())
    assert data_version(paths) == "1" * 32


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nstages:\n", "stages: 3\n", "[]", "\xff: ["])
def test_a_broken_lock_is_named_in_one_sentence(tmp_path, text):
    paths = make_project(tmp_path)
    write_bytes(tmp_path / "dvc.lock", text.encode("latin-1"))
    with pytest.raises(ExpungeError, match="not a DVC lock file"):
        read_locks(paths)


def test_git_commit_is_dirty_for_code_but_not_for_what_a_run_writes(tmp_path):
    assert git_commit(tmp_path) == "unknown"
    environment = os.environ | {
        f"GIT_{who}_{what}": "t@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, env=environment)

    (tmp_path / "releases").mkdir()
    for name in ("code.py", "dvc.lock", "releases/live.yaml"):
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    commit = git_commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / "dvc.lock").write_text("2")
    (tmp_path / "releases" / "live.yaml").write_text("2")
    assert git_commit(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"
