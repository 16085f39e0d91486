"""S3, by a real server: what a source in a bucket says, and what DVC keeps in one and a purge takes out of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import yaml

from buckets import bucket
from expunge.corpus.fingerprint import ask, must_ask
from expunge.lineage.dvc import objects
from expunge.lineage.dvc.objects import ObjectStore, opened
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from formats import corpus, folder_csv
from project import run
from test_sources import build, params_of

STRANGER = "abc0ffee0000000000000000000000"
"""An object that another project keeps in the same bucket."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with bucket() as found:
        yield found


def held(address: str) -> set[str]:
    """Every key below an address, as the server lists them now."""
    import boto3

    name, _, prefix = address.removeprefix("s3://").partition("/")
    pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    return {entry["Key"].removeprefix(prefix + "/") for page in pages for entry in page.get("Contents", [])}


def test_a_source_in_a_bucket_is_read_and_its_changes_are_noticed(address: str, tmp_path: Path) -> None:
    folder_csv(tmp_path / "x", corpus(24))
    s3 = fsspec.filesystem("s3")
    s3.put(str(tmp_path / "x"), f"{address}/source", recursive=True)
    params = params_of(
        {"source": "folder", "data": f"{address}/source/pictures", "captions": f"{address}/source/captions.csv"}
    )
    assert must_ask(params)
    assert len(build(tmp_path, params).catalog) == 24
    assert build(tmp_path, params).written == 0
    before = ask(params)
    assert ask(params) == before
    other = fsspec.filesystem("s3", skip_instance_cache=True)  # somebody else's client
    edited = other.cat(f"{address}/source/captions.csv").replace(b"bird number 5", b"bird number five")
    other.pipe(f"{address}/source/captions.csv", edited)
    changed = {name for name, digest in ask(params).items() if digest != before[name]}
    assert changed == {f"{address}/source/captions.csv"}
    assert build(tmp_path, params).written == 1
    other.rm(next(path for path in other.find(f"{address}/source/pictures") if path.endswith("p003.png")))
    assert ask(params)[f"{address}/source/pictures"] != before[f"{address}/source/pictures"]
    assert len(build(tmp_path, params).catalog) == 23


def test_a_bucket_that_is_not_there_is_said_in_one_sentence(address: str, tmp_path: Path) -> None:
    for data in (f"{address}-of-nobody/pictures", f"{address}/nothing"):
        with pytest.raises(ExpungeError, match=r"catalog\.data") as caught:
            build(tmp_path, params_of({"source": "folder", "data": data}))
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def pushed(address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Paths, str]:
    """A project whose only stage ran twice, both outcomes in a bucket; the workspace uses the second."""
    root, remote = tmp_path_factory.mktemp("pushed"), f"{address}/remote"
    run(root, "git", "init", "--quiet", "--template=")
    run(root, "dvc", "init", "--quiet")
    run(root, "dvc", "remote", "add", "--quiet", "--default", "store", remote)
    stage = {"cmd": "mkdir -p out && cp given out/one && cat given given > out/two", "deps": ["given"], "outs": ["out"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    with opened(Paths(root)) as repo, pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for content in ("older", "newer"):
            (root / "given").write_text(content)
            repo.reproduce()
            repo.push(run_cache=True)
    fsspec.filesystem("s3").pipe(f"{remote}/{_key(STRANGER)}", b"somebody else's")
    return Paths(root), remote


def _key(oid: str) -> str:
    return f"files/md5/{oid[:2]}/{oid[2:]}"


def store_of(paths: Paths) -> tuple[list[ObjectStore], ObjectStore]:
    found, elsewhere = objects.stores(paths)
    assert elsewhere == []
    return found, found[1]


def test_what_is_pushed_to_a_bucket_can_be_pulled(pushed: tuple[Paths, str], tmp_path: Path) -> None:
    paths, _ = pushed
    clone = tmp_path / "clone"
    shutil.copytree(paths.root, clone, ignore=shutil.ignore_patterns("out", "cache", "tmp"))
    with opened(Paths(clone)) as repo:
        repo.pull()
    assert {path.name: path.read_text() for path in (clone / "out").iterdir()} == {"one": "newer", "two": "newernewer"}


def test_a_purge_takes_out_of_a_bucket_what_the_project_knows_and_does_not_use(pushed: tuple[Paths, str]) -> None:
    paths, remote = pushed
    stores, store = store_of(paths)
    assert (store.here, store.own) == (False, False)
    known, used = objects.known_objects(paths, stores), objects.used_objects(paths)
    assert store.objects().keys() > used | {STRANGER}
    surplus, runs = store.surplus(used, known), store.surplus_runs(known)
    assert len(surplus) == 3  # the older listing and its two files
    assert len(runs) == 2
    assert {store.address(file.path) for file in surplus} < {f"{remote}/{key}" for key in held(remote)}
    for one in stores:
        one.remove([*one.surplus(used, known), *one.surplus_runs(known)])
    objects.forget_listings(paths, ["store"])
    assert held(remote) == {_key(oid) for oid in used | {STRANGER}}
    assert store.surplus(used, known) == []
    with opened(paths) as repo:
        assert repo.status(cloud=True) == {}


def test_a_bucket_that_cannot_be_reached_stops_the_purge_with_a_sentence(
    pushed: tuple[Paths, str], tmp_path: Path
) -> None:
    root = tmp_path / "moved"
    shutil.copytree(pushed[0].root, root)
    run(root, "dvc", "remote", "modify", "store", "endpointurl", "http://127.0.0.1:9")
    _, store = store_of(Paths(root))
    with pytest.raises(ExpungeError, match="DVC remote store cannot be listed") as caught:
        store.objects()
    assert "\n" not in str(caught.value)
    assert "AWS_ENDPOINT_URL" in os.environ
