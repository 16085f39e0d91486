"""Shards made by two actors of Ray are those that one process makes, byte by byte, also where an actor is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from expunge.embeddings.store import embed_catalog, origin
from expunge.models import clip
from expunge.models.files import preprocess_digest
from expunge.models.settings import ComputeParams
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_file
from expunge.project.workers import WORKERS, in_order
from formats import corpus, folder_csv
from models import tiny_clip
from samples import make_catalog
from test_sources import build, params_of, quarantined

COMPUTE = ComputeParams(device="cpu")


def test_one_process_works_in_order_and_lazily() -> None:
    numbers = iter(range(4))
    results = in_order(lambda number: number * number, numbers, None)
    assert next(results) == 0
    assert next(numbers) == 1
    assert list(results) == [4, 9]


def test_what_is_not_a_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKERS, "many")
    with pytest.raises(ExpungeError, match="EXPUNGE_WORKERS is 'many'"):
        list(in_order(str, [1], lambda: str))


def test_without_ray_a_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKERS, "2")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ExpungeError, match=r"pip install 'expunge\[ray\]'"):
        list(in_order(str, [1], lambda: str))


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """A Ray of this machine with two actors; the tests of this module share it."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'expunge[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # On a loaded machine a worker takes longer to start than the minute that Ray gives it.
    patience = {"worker_register_timeout_seconds": 600}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, _system_config=patience)
    yield
    ray.shutdown()


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.rglob("*.parquet"))}


def kill_an_actor() -> None:
    actors = [one for one in psutil.Process().children(recursive=True) if "ray::_Actor" in " ".join(one.cmdline())]
    assert actors, "no actor is at work"
    os.kill(actors[0].pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_embed_and_catalogue_to_the_same_bytes_and_one_that_is_killed_is_replaced(
    tmp_path: Path, two_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make_catalog(tmp_path / "catalog", 60, 6)
    model = tiny_clip()
    digest = clip.save(model, tmp_path / "model")
    made_from = origin(catalog, model, digest, preprocess_digest(tmp_path / "model"), set())
    load = partial(clip.load_again, tmp_path / "model", COMPUTE, torch.get_num_threads())

    def embedded(name: str, progress: Callable[[int, int], None] | None = None) -> dict[str, str]:
        embed_catalog(tmp_path / name, catalog, model, made_from, set(), 4, progress, None, load)
        return digests(tmp_path / name)

    data = folder_csv(tmp_path / "source", corpus(30))
    params = params_of(data)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = build(tmp_path / "one", params)
    alone = embedded("alone")
    assert len(alone) >= 8

    monkeypatch.setenv(WORKERS, "2")
    assert embedded("both") == alone
    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if done and not killed:
            killed.append(done)
            kill_an_actor()

    assert embedded("survived", kill_once) == alone
    assert killed == [1]
    again = build(tmp_path / "two", params)
    assert again.catalog.digest == whole.catalog.digest
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert quarantined(tmp_path / "two") == quarantined(tmp_path / "one")
    assert again.written == whole.written > 1


@pytest.mark.slow
def test_what_a_worker_refuses_is_said_as_if_it_had_happened_here(
    two_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKERS, "2")

    def refuse(number: int) -> int:
        if number == 2:
            raise ExpungeError("The third cannot be done.")
        return number

    with pytest.raises(ExpungeError, match=r"^The third cannot be done\.$"):
        list(in_order(refuse, range(4), lambda: refuse))
