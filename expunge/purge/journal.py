"""The journal of a purge: what it found at the start and which steps are done, so that a killed purge can be finished.

It is written before anything is removed and lies in a folder of its own, together with the traces that the proof
needs and nothing else could give any more. The last step removes the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expunge.project.files import read_json, write_bytes, write_json
from expunge.project.paths import JOURNAL, Paths
from expunge.purge import traces
from expunge.purge.traces import Trace

TRACES, OBJECTS = "traces.json", "objects.json"


@dataclass
class Journal:
    """What a purge of `release` has to do and has done.

    Attributes:
        gone: ancestors, which go, from `base` on.
        kept: the release and its descendants, which stay.
        began_at: ISO time in UTC.
        retained: digest of all retained samples, from before the purge.
        removed: what was there to be removed, by surface.
        done: names of finished steps.
        data_version: DVC's name of the catalog before the purge.
    """

    folder: Path
    release: str
    gone: list[str]
    kept: list[str]
    began_at: str
    retained: str
    removed: list[dict[str, Any]]
    done: list[str] = field(default_factory=list)
    data_version: str | None = None

    @classmethod
    def begin(cls, paths: Paths, found: Sequence[Trace], known: Sequence[str], release: str, **facts: Any) -> Journal:
        """Write the traces, the objects that DVC has ever known here, and then the journal, which makes it count."""
        journal = cls(paths.purges / release, release, **facts)
        journal.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        traces.save(found, journal.folder / TRACES)
        write_json(journal.folder / OBJECTS, sorted(known))
        journal._save()
        return journal

    @classmethod
    def open(cls, paths: Paths, release: str) -> Journal | None:
        """The journal of an unfinished purge of `release`, None where there is none."""
        file = paths.purge_journal(release)
        return cls(file.parent, **read_json(file)) if file.is_file() else None

    def traces(self) -> list[Trace]:
        """What the purge searches for."""
        return traces.load(self.folder / TRACES)

    def known_objects(self) -> set[str]:
        """Digests of everything that DVC knew of this project when the purge began."""
        return set(read_json(self.folder / OBJECTS))

    def finish(self, step: str) -> None:
        """Note that `step` is done."""
        self.done.append(step)
        self._save()

    @contextmanager
    def from_the_same_start(self, step: str, root: Path, files: Iterable[Path]) -> Iterator[None]:
        """Put `files` back as they were when `step` was first begun; keep them as they are now where it was not.

        For what others write in place: a kill may leave half of a file.
        """
        kept = self.folder / f"before-{step}.json"
        if kept.is_file():
            for name, text in read_json(kept).items():
                write_bytes(root / name, text.encode())
        else:
            there = [path for path in files if path.is_file()]
            write_json(kept, {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in there})
        yield
        kept.unlink()

    def start_over(self) -> None:
        """Note that what was done is to be done again, for something has come back meanwhile."""
        self.done = []
        self._save()

    def close(self) -> None:
        """Remove the traces and what a kill left half written, and the journal last: a kill here is not the end."""
        for path in sorted(self.folder.iterdir()):
            if path != self._file:
                path.unlink()
        self._file.unlink()
        self.folder.rmdir()

    @property
    def _file(self) -> Path:
        return self.folder / JOURNAL

    def _save(self) -> None:
        content = asdict(self)
        del content["folder"]
        write_json(self._file, content)
