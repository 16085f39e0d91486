"""The whole pipeline on about 200 pictures through real DVC, Prefect and MLflow, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from expunge.project.files import sha256_file
from project import approved_request, lenient_gate, make_project, run, tiny_params, write_params

pytestmark = pytest.mark.slow

RESULTS = ("models", "data/embeddings", "data/index", "data/sets", "data/catalog")


def digests(project: Path) -> dict[str, str]:
    """Digests of everything that must not depend on who ran the steps, when, or how often they were interrupted."""
    return {
        str(path.relative_to(project)): sha256_file(path)
        for folder in RESULTS
        for path in sorted((project / folder).rglob("*"))
        if path.is_file() and path.name != ".gitignore"
    }


def figures(project: Path, release: str) -> dict:
    metrics = json.loads((project / "reports" / release / "metrics.json").read_text())
    return {key: value for key, value in metrics.items() if key != "cost"}


def versions(project: Path) -> list[dict[str, str]]:
    script = (
        "import json, mlflow; client = mlflow.MlflowClient('sqlite:///mlflow.db');"
        "found = client.search_model_versions(\"name = 'clip'\");"
        "aliases = client.get_registered_model('clip').aliases;"
        "print(json.dumps([{**v.tags, 'version': v.version,"
        "  'aliases': [name for name, number in aliases.items() if str(number) == str(v.version)]} for v in found]))"
    )
    found = json.loads(run(project, sys.executable, "-c", script).stdout.splitlines()[-1])
    return sorted(found, key=lambda version: int(version["version"]))


def test_the_flow_builds_every_file_and_the_summary_says_what_happened(served: Path) -> None:
    for path in (
        "models/r001/model.safetensors",
        "models/gold/r001/model.safetensors",
        "data/index/r001/image.faiss",
        "reports/r001/metrics.json",
        "reports/r001/report.html",
    ):
        assert (served / path).is_file(), path
    out = run(served, "expunge", "report").stdout
    assert "Release r001 serves req-0001 (14)" in out
    assert re.search(r"Unlearning took .* times (cheaper|dearer)", out)


def test_after_the_flow_dvc_finds_nothing_to_do(served: Path) -> None:
    assert "up to date" in run(served, "dvc", "repro").stdout
    assert "up to date" in run(served, "dvc", "status").stdout


def test_dvc_repro_by_hand_gives_the_same_files_as_the_flow(served: Path, tmp_path: Path) -> None:
    by_hand = make_project(tmp_path / "project", tiny_params(gate=lenient_gate()))
    for name in ("r001/release.yaml", "r001/dvc.yaml", "live.yaml"):
        (by_hand / "releases" / "r001").mkdir(exist_ok=True)
        (by_hand / "releases" / name).write_bytes((served / "releases" / name).read_bytes())
    run(by_hand, "dvc", "repro", "--quiet")
    assert digests(by_hand) == digests(served)
    assert figures(by_hand, "r001") == figures(served, "r001")


def test_the_release_holds_no_vector_of_a_forgotten_sample(served: Path) -> None:
    script = (
        "from pathlib import Path; from expunge.project.paths import Paths;"
        "from expunge.embeddings.search import load_embeddings;"
        "from expunge.embeddings.index import *; from expunge.corpus.sample import vector_id;"
        "from expunge.selection.sets import read_forget;"
        "paths = Paths(); where = paths.release('r001'); gone = {row.sample_id for row in read_forget(where.forget)};"
        "held = set(load_embeddings(paths, 'r001').ids);"
        "keys = set(index_ids(read_index(where.index / 'image.faiss')).tolist());"
        "assert len(gone) == 14 and not gone & held and not {vector_id(g) for g in gone} & keys and len(keys) == 186"
    )
    run(served, sys.executable, "-c", script)


def test_search_answers_from_the_live_release_and_not_with_forgotten_samples(served: Path) -> None:
    hits = json.loads(run(served, "expunge", "search", "--text", "flag", "-k", "20", "--json").stdout)
    assert hits["release"] == "r001"
    assert len(hits["hits"]) == 20
    assert not any(hit["class_name"] == "country-flag" for hit in hits["hits"])
    before = json.loads(
        run(served, "expunge", "search", "--release", "base", "--text", "flag", "-k", "200", "--json").stdout
    )
    assert sum(hit["class_name"] == "country-flag" for hit in before["hits"]) == 14


def test_mlflow_holds_one_version_a_release_with_the_tags_that_lead_back(served: Path) -> None:
    base, release = versions(served)
    assert (base["release"], release["release"]) == ("base", "r001")
    assert release["requests"] == "req-0001"
    assert release["parent"] == "base"
    assert release["model_digest"] == sha256_file(served / "models" / "r001" / "model.safetensors")
    lock = yaml.safe_load((served / "dvc.lock").read_text())
    assert release["data_version"] == lock["stages"]["catalog"]["outs"][0]["md5"]
    assert "candidate" in release["aliases"]
    assert base["aliases"] == []


def test_trace_tells_the_same_chain_from_every_end_and_its_digests_hold(served: Path) -> None:
    model = sha256_file(served / "models" / "r001" / "model.safetensors")
    chains = [run(served, "expunge", "trace", thing, "--json").stdout for thing in ("req-0001", "r001", model, "v2")]
    assert len(set(chains)) == 1
    assert "mismatch" not in chains[0]


def test_with_nothing_approved_nothing_is_done(served: Path) -> None:
    before = digests(served)
    assert "nothing was done" in run(served, "expunge", "release").stdout
    assert digests(served) == before


def test_a_second_release_builds_on_the_first_and_keeps_its_forgetting(served: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(served, project, symlinks=True)
    approved_request(project, "--class", "family")
    run(project, "expunge", "release", "--method", "finetune")
    description = yaml.safe_load((project / "releases" / "r002" / "release.yaml").read_text())
    assert (description["parent"], description["method"]["name"]) == ("r001", "finetune")
    registered = versions(project)
    assert [version["release"] for version in registered] == ["base", "r001", "r002"]
    hits = json.loads(run(project, "expunge", "search", "--text", "flag", "-k", "200", "--json").stdout)["hits"]
    assert not {hit["class_name"] for hit in hits} & {"country-flag", "family"}
    first = digests(project)
    description["method"]["name"] = "grad_diff"
    (project / "releases" / "r002" / "release.yaml").write_text(yaml.safe_dump(description))
    out = run(project, "dvc", "repro").stdout
    ran = [line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage")]
    assert all(stage == "live" or "r002" in stage for stage in ran), ran
    assert "releases/r002/dvc.yaml:unlearn" in ran
    assert "releases/r002/dvc.yaml:gold" not in ran
    changed = {path for path, digest in digests(project).items() if first[path] != digest}
    assert changed
    assert all("/r002/" in path for path in changed), changed


def test_a_release_that_fails_its_gate_is_no_candidate_and_says_which_check_failed(tmp_path: Path) -> None:
    gate = {"spreads": 1e-6, "stand_ins": 1}
    project = make_project(tmp_path / "project", tiny_params(gate=gate, release={"gold": False}))
    run(project, "dvc", "repro", "--quiet", "register")
    approved_request(project, "--class", "country-flag")
    failed = run(project, "expunge", "release", check=False)
    assert failed.returncode == 1
    assert "forget_similarity" in failed.stderr
    [said] = [line for line in failed.stderr.splitlines() if line.startswith("Error:")]
    assert "req-0001 are not served. Next: `expunge repair --yes`" in said
    assert "Traceback" not in failed.stderr + failed.stdout
    assert (failed.stdout + failed.stderr).count("Running stage 'releases/r001/dvc.yaml:select'") == 1
    index = (project / "reports" / "index.html").read_text(encoding="utf-8")
    assert "r001</h1>" in index
    assert "It failed its gate" in index
    assert not (project / "models" / "gold").exists()
    _, release = versions(project)
    assert release["verdict"] == "failed"
    assert release["aliases"] == []
    assert figures(project, "r001")["gate"]["reference"] == "estimate"
    approved_request(project, "--class", "family")
    refused = run(project, "expunge", "release", check=False)
    assert refused.returncode == 1
    assert "r001 failed its gate" in refused.stderr


def test_where_a_method_fails_the_gate_the_next_is_tried_and_the_gold_standard_serves_last(tmp_path: Path) -> None:
    """Nothing but the gold standard itself is within a millionth of a spread of the gold standard."""
    ladder = {"methods": ["finetune", "retrain"], "gold": True}
    project = make_project(tmp_path / "project", tiny_params(gate={"spreads": 1e-6}, release=ladder))
    run(project, "dvc", "repro", "--quiet", "register")
    approved_request(project, "--class", "country-flag")
    run(project, "expunge", "release")
    metrics = figures(project, "r001")
    assert (metrics["method"], metrics["gate"]["passed"]) == ("retrain", True)
    first, last = metrics["attempts"]
    assert (first["method"], first["passed"], last["method"]) == ("finetune", False, "retrain")
    assert first["failed"]
    weights = [(project / folder / "model.safetensors").read_bytes() for folder in ("models/r001", "models/gold/r001")]
    assert weights[0] == weights[1]
    _, release = versions(project)
    assert (release["method"], release["verdict"]) == ("retrain", "passed")
    assert json.loads(run(project, "expunge", "trace", "r001", "--json").stdout)["method"] == "retrain"
    assert "up to date" in run(project, "dvc", "repro").stdout


def test_the_flow_finishes_a_release_that_was_cut_but_never_run(served: Path, tmp_path: Path) -> None:
    """As in a fresh clone, or after a kill between cutting and running."""
    project = tmp_path / "project"
    shutil.copytree(served, project, symlinks=True)
    for name in ("reports/r001/registration.json", "models/r001", "data/embeddings/base"):
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(project, "expunge", "release")
    assert digests(project) == digests(served)
    assert "up to date" in run(project, "dvc", "repro").stdout


MLFLOW = ["mlflow.db", "mlartifacts", "reports/base/registration.json", "reports/r001/registration.json"]
KILLS = {
    "train base": (["--force", "--single-item", "train"], 2.5, []),
    "climb r001": (["--force", "--single-item", "releases/r001/dvc.yaml:unlearn"], 2.5, []),
    "embed r001": (["--force", "--single-item", "releases/r001/dvc.yaml:embed"], 2.0, []),
    "register r001": ([], 1.5, MLFLOW),
}
"""Step → arguments of `dvc repro`, seconds of CPU after which it is killed, and what is removed first.

Imports take one to two and a half seconds of CPU; the step proper follows.
"""


@pytest.mark.parametrize("step", KILLS)
def test_kill_minus_nine_at_any_moment_and_the_next_run_ends_with_the_same_digests(
    served: Path, tmp_path: Path, step: str
) -> None:
    arguments, seconds, removed = KILLS[step]
    for attempt in range(5):
        project = tmp_path / f"attempt-{attempt}"
        shutil.copytree(served, project, symlinks=True)
        for name in [".dvc/cache/runs", *removed]:
            path = project / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if killed_while_it_ran(project, arguments, f"expunge.steps.{step}", seconds * 0.75**attempt):
            break
    else:
        pytest.fail(f"{step} always ended before it could be killed")
    run(project, "dvc", "repro", "--quiet")
    assert digests(project) == digests(served)
    assert [version["release"] for version in versions(project)] == ["base", "r001"]
    assert not list(project.rglob("*.partial"))


def killed_while_it_ran(project: Path, arguments: list[str], step: str, seconds: float) -> bool:
    """Start `dvc repro` and kill its process group once `step` has used that much CPU; False where it was quicker."""
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    process = subprocess.Popen(
        ["dvc", "repro", *arguments],
        cwd=project,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if cpu_seconds(process.pid, step) > seconds:
            break
        time.sleep(0.02)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def cpu_seconds(group: int, step: str) -> float:
    """CPU time so far of the process in `group` that runs `step`; 0 where there is none."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        if int(stat[2]) == group and step in command and "python" in command.split()[0]:
            return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def test_a_broken_params_file_stops_the_pipeline_in_one_line(served: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write_params(project, tiny_params(train={"epochs": "many"}))
    failed = run(project, "expunge", "status", check=False)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "train.epochs" in failed.stderr
