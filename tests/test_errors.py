"""Bad input gets one clear sentence and exit status 1, and leaves no half-made state."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from expunge.corpus.catalog import Catalog
from expunge.project.files import sha256_file
from project import lenient_gate, run, tiny_params, write_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("errors") / "project"
    shutil.copytree(served, copy, symlinks=True)
    run(copy, "expunge", "trace", "r001", "--json")  # whoever asks a copy first has its record follow it
    return copy


def state(project: Path) -> dict[str, str]:
    """Digests of everything but caches, locks and logs."""
    skipped = (".git/", ".dvc/", ".expunge/")
    return {
        name: sha256_file(path)
        for path in sorted(project.rglob("*"))
        if path.is_file()
        for name in [path.relative_to(project).as_posix()]
        if not name.startswith(skipped) and "__pycache__" not in name
    }


def refused(project: Path, *command: str, status: int = 1) -> str:
    """Run a command that must fail without changing anything; returns its message."""
    before = state(project)
    result = run(project, *command, check=False)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert state(project) == before, "something was left behind"
    return result.stderr


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (["--class", "country-flags"], "country-flag"),
        (["--id", "openmoji:NOPE"], "openmoji:NOPE"),
        (["--where", "colour = 'red'"], "colour"),
        (["--where", "class = "], "SQL"),
        (["--where", "1=1); DROP TABLE catalog; --"], "not a valid SQL predicate"),
        (["--where", "sample_id IN (SELECT column0 FROM read_csv('/etc/passwd'))"], "may not use table function"),
        (["--where", "class = 'no such class'"], "selects no"),
        (["--where", "true"], "would leave 0 of"),
    ],
)
def test_a_request_that_cannot_be_served_is_not_recorded(project: Path, selector: list[str], message: str) -> None:
    import re

    error = refused(project, "expunge", "request", "add", *selector, "--basis", "copyright")
    assert re.search(message, error), error
    assert error.startswith("Error: ")
    assert error.count("\n") <= 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["request", "show", "req-9999"], "req-9999"),
        (["request", "approve", "req-0001"], "released|approved"),
        (["release", "--method", "magic"], "known are bad_teacher"),
        (["release", "--name", "../outside"], "--name"),
        (["report", "r999"], "no release r999"),
        (["trace", "nonsense"], "nonsense"),
        (["search", "--id", "openmoji:NOPE"], "holds no sample"),
        (["search", "--image", "no-such-file.png"], "no file"),
        (["search", "--text", "x", "--release", "r999"], "no release r999"),
    ],
)
def test_unknown_names_are_refused(project: Path, command: list[str], message: str) -> None:
    import re

    assert re.search(message, refused(project, "expunge", *command))


def test_a_usage_error_exits_with_two(project: Path) -> None:
    refused(project, "expunge", "request", "add", "--class", "family", "--basis", "because", status=2)
    refused(project, "expunge", "search", status=2)


def test_a_release_name_that_exists_is_refused(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True)
    run(copy, "expunge", "request", "add", "--class", "family", "--basis", "safety")
    run(copy, "expunge", "request", "approve", "req-0002")
    failed = run(copy, "expunge", "release", "--name", "r001", check=False)
    assert failed.returncode == 1
    assert "Release r001 exists already" in failed.stderr
    assert yaml.safe_load((copy / "releases" / "live.yaml").read_text()) == {"live": "r001"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": {"name": "magic"}}, "magic"),
        ({"method": {"name": "cliperase", "params": {"stepz": 3}}}, "stepz"),
        ({"requests": []}, "requests"),
        ({"surprise": 1}, "surprise"),
        ({"release": "r002"}, "r002"),
    ],
)
def test_a_malformed_release_file_stops_its_step_and_names_the_key(
    project: Path, tmp_path: Path, change: dict, message: str
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
    path = copy / "releases" / "r001" / "release.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    error = refused(copy, sys.executable, "-m", "expunge.steps.unlearn", "r001")
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_and_a_truncated_shard_are_named_by_the_step_that_reads_them(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
    shard = Catalog(copy / "data" / "catalog").shards[1].path
    whole = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(whole[:-10])
    assert f"{shard.name} is truncated" in refused(copy, sys.executable, "-m", "expunge.steps.embed", "r001")
    shard.unlink()
    assert f"{shard.name} is missing" in refused(copy, sys.executable, "-m", "expunge.steps.embed", "r001")


def test_a_model_that_does_not_fit_its_config_stops_the_embedding(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
    config = copy / "models" / "r001" / "open_clip_config.json"
    text = config.read_text()
    config.unlink()
    config.write_text(text.replace('"embed_dim": 32', '"embed_dim": 48'))
    assert "does not fit" in refused(copy, sys.executable, "-m", "expunge.steps.embed", "r001")


def test_a_disk_that_fills_up_leaves_no_half_written_file(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
    shutil.rmtree(copy / "data" / "embeddings" / "r001")

    def small_disk() -> None:
        # A limit on file size makes writes fail as a full disk does: with an OSError in the middle of a file.
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    result = subprocess.run(
        [sys.executable, "-B", "-m", "expunge.steps.embed", "r001"],
        cwd=copy,
        preexec_fn=small_disk,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Error: " in result.stderr
    left = [path.name for path in (copy / "data" / "embeddings" / "r001").iterdir()]
    assert left == []


def test_an_unreadable_params_file_names_the_line(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", "cache"))
    (copy / "params.yaml").write_text("train:\n  epochs: [\n", encoding="utf-8")
    assert "not valid YAML at line" in refused(copy, "expunge", "status")
    write_params(copy, tiny_params(gate=lenient_gate()))
    run(copy, "expunge", "status")
