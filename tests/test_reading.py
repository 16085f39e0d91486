"""What strangers or a damaged disk wrote means one thing and ends soon; what is written obeys the umask."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
import yaml

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_bytes
from expunge.project.reading import MAX_BYTES, read_plain, strict_yaml
from expunge.project.schema import validated
from expunge.project.terminal import plain
from expunge.releases.release import Live

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "aliases are not allowed"),
        ("live: base\nlive: r001\n", "same key twice"),
        ("[" * 10_000, "nests too deep"),
        ("{a: " * 10_000, "nests too deep"),
        ("live: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
    ],
)
def test_yaml_that_stands_for_gigabytes_or_for_two_things_is_refused_at_once(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "live.yaml").write_text(text)
    started = time.monotonic()
    with pytest.raises(ExpungeError, match=reason):
        validated(Live, tmp_path / "live.yaml")
    assert time.monotonic() - started < 5


def test_plain_yaml_is_read() -> None:
    assert strict_yaml("a: [1, {b: null}]\nc: '&a *a'\n") == {"a": [1, {"b": None}], "c": "&a *a"}
    with pytest.raises(yaml.YAMLError):
        strict_yaml("2026-13-45: x\n")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '{"a": {"b": 1, "b": 1}}', "\x00"])
def test_json_that_means_two_things_or_nests_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ExpungeError, match="is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_what_is_not_an_ordinary_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ExpungeError, match="not an ordinary file"):
            read_plain(path, 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(ExpungeError, match="more than"):
        read_plain(tmp_path / "large", 10)
    assert read_plain(tmp_path / "large", MAX_BYTES) == b"x" * 11


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_files_get_the_mode_that_the_umask_leaves_and_private_ones_are_private(
    tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "open", b"x")
        write_bytes(tmp_path / "private", b"x", private=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_a_terminal_is_shown_marks_in_place_of_escapes() -> None:
    assert plain("a\x1b[2Jb\nc\u202ed\x9be") == "a\ufffd[2Jb\ufffdc\ufffdd\ufffde"
    assert plain("Größe 大きさ, ✗") == "Größe 大きさ, ✗"
