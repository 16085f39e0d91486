"""Results of the benchmark: one JSON Lines file a scenario, one line a run, sorted.

A line holds `kind` (`run`, `examination`, `exact`, `impostor` or `stand_in`), `method`, `seed`, what was measured, and
its source: `machine`, `command`, `commit` and `store`, the type in which methods were given the parent's embeddings.
Lines that are older than the present benchmark, which reads the embedding store of a release (float16), say `store:
float32`. They have no command, since results did not hold it then, and their commit is the one that recorded them.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.machine import machine
from expunge.lineage.git import git_commit
from expunge.project.errors import ExpungeError
from expunge.project.files import rounded, write_bytes

RESULTS = Path("bench/results/forgetting")
EARLIER = Path("bench/results/forgetting-64-epochs")
"""Results of an earlier recipe, which trained for 64 epochs: of more methods, by a gate with fixed limits."""
RUN, EXAMINATION, EXACT, IMPOSTOR, STAND_IN = "run", "examination", "exact", "impostor", "stand_in"
STORE = "float16"
DIGITS = 6


@dataclass(frozen=True)
class Result:
    """One line of results.

    Attributes:
        scenario: what was to be forgotten; the name of the file.
        kind: what was measured: a `run`, the further questions (`examination`), `exact` unlearning, an `impostor`,
            or a text tower that joins the gold standard as a reference (`stand_in`).
        method: whose model, `original` and `gold` included.
        content: figures by name.
        source: where they come from: `machine`, `command`, `commit`, `store`.
    """

    scenario: str
    kind: str
    method: str
    seed: int
    content: dict[str, Any]
    source: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        """What a file holds once only."""
        return self.kind, self.method, self.seed


def read(scenario: str, folder: Path = RESULTS) -> list[Result]:
    """The results of one scenario, sorted; none where there is no file yet.

    Raises:
        ExpungeError: a line is damaged; the message names it.
    """
    path = _path(scenario, folder)
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Result(scenario, **json.loads(line)))
        except (ValueError, TypeError):
            raise ExpungeError(f"{path}, line {number} is not a result; delete the line to measure it again.") from None
    return found


def has(scenario: str, kind: str, method: str, seed: int, folder: Path = RESULTS) -> bool:
    """Whether this was measured before."""
    return any(result.key == (kind, method, seed) for result in read(scenario, folder))


def measured(scenario: str, kind: str, method: str, seed: int, content: dict[str, Any]) -> Result:
    """A result of this very run, on this machine, with its figures in six significant digits."""
    source = {
        "machine": machine(),
        "command": shlex.join(["python", "-m", _module(), *sys.argv[1:]]),
        "commit": git_commit(Path()),
        "store": STORE,
    }
    return Result(scenario, kind, method, seed, rounded(content, DIGITS), source)


def record(results: Result | Iterable[Result], folder: Path = RESULTS) -> None:
    """Add results of one scenario to its file; a line of the same kind, method and seed is replaced.

    Several runs may write at once: the file is read, changed and renamed under a lock.
    """
    fresh = [results] if isinstance(results, Result) else list(results)
    for scenario in sorted({result.scenario for result in fresh}):
        path = _path(scenario, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            kept = {result.key: result for result in read(scenario, folder)}
            kept |= {result.key: result for result in fresh if result.scenario == scenario}
            write_bytes(path, b"".join(_line(kept[key]) for key in sorted(kept)))


def of_kind(kind: str, scenarios: Sequence[str], folder: Path = RESULTS) -> list[Result]:
    """All results of one kind, scenario by scenario."""
    return [result for scenario in scenarios for result in read(scenario, folder) if result.kind == kind]


def _line(result: Result) -> bytes:
    content = {key: value for key, value in asdict(result).items() if key != "scenario"}
    return (json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _path(scenario: str, folder: Path) -> Path:
    return folder / f"{scenario}.jsonl"


def _module() -> str:
    """The module that was started, as `python -m` takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).stem
