"""What a clerk needs at hand to record, preview and decide on a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.paths import BASE, Paths
from expunge.project.reading import read_plain
from expunge.settings import Params, load_params

if TYPE_CHECKING:
    from expunge.corpus.catalog import Catalog
    from expunge.near_duplicates.find import NearDuplicate
    from expunge.requests.ledger import Ledger
    from expunge.requests.request import Selector
    from expunge.selection.match import SubjectDigest, TextScores
    from expunge.selection.neighbours import Vectors


MAX_EXAMPLE = 64 * 2**20
"""An example of more bytes is not read."""


@dataclass(frozen=True)
class Desk:
    """What a clerk needs at hand; each thing is opened when it is first used."""

    paths: Paths

    @cached_property
    def params(self) -> Params:
        return load_params(self.paths.params)

    @cached_property
    def ledger(self) -> Ledger:
        from expunge.requests.ledger import Ledger

        return Ledger.open(self.params.ledger, self.paths.root)

    @cached_property
    def catalog(self) -> Catalog:
        from expunge.corpus.catalog import Catalog

        return Catalog(self.paths.catalog)

    @cached_property
    def built(self) -> str:
        """The newest release that is finished: intake must not wait for one that is being made."""
        from expunge.releases.chain import chain

        names = reversed(chain(self.paths))
        return next(name for name in names if name == BASE or self.paths.release(name).registration.is_file())

    @cached_property
    def forgotten(self) -> set[str]:
        """What that release and its ancestors have forgotten."""
        from expunge.selection.sets import read_forget

        if self.built == BASE:
            return set()
        return {row.sample_id for row in read_forget(self.paths.release(self.built).forget)}

    @property
    def text_scores(self) -> TextScores:
        """Scores of the pictures of that release; the model is loaded when a selector asks."""

        def scores(text: str) -> dict[str, float]:
            from expunge.embeddings.search import text_scores

            return text_scores(self.paths, self.built, text)

        return scores

    @property
    def subject_digest(self) -> SubjectDigest:
        """The keyed digests by which a request may name a subject."""
        from expunge.requests.keys import subject_digests

        return subject_digests(self.paths.root)

    @property
    def embeddings(self) -> Vectors | None:
        """Of that release, None before the first `dvc repro embed`."""
        from expunge.embeddings.search import load_embeddings

        if not self.paths.release(self.built).embeddings.is_dir():
            return None
        return load_embeddings(self.paths, self.built)

    def check(self, selectors: Sequence[Selector]) -> int:
        """How many samples `selectors` catch today.

        Raises:
            RequestRefused: nothing or everything, or they name something unknown.
            ExpungeError: the catalog or the forget set is missing or damaged.
        """
        from expunge.selection.match import check_enough_left, matches

        catalog, forgotten = self.catalog, self.forgotten
        try:
            found = matches(catalog, selectors, forgotten, self.text_scores, self.subject_digest)
            check_enough_left(catalog, forgotten | set(found))
        except ExpungeError as error:
            raise RequestRefused(str(error)) from None
        return len(found)

    def near_duplicates(self, selected: set[str]) -> list[NearDuplicate] | None:
        """Of these samples in the catalog, None before the first `dvc repro embed`."""
        from expunge.corpus.pictures import decode_image
        from expunge.embeddings.search import picture_encoder
        from expunge.near_duplicates.find import near_duplicates

        if (vectors := self.embeddings) is None:
            return None
        encode = picture_encoder(self.paths, self.built)
        return near_duplicates(self.catalog, selected, self.forgotten, vectors, encode, decode_image)

    def like_example(self, example: Path, min_score: float) -> dict[str, Any]:
        """An image selector: what the newest finished release finds like a picture, which is not kept.

        Raises:
            ExpungeError: the file is not an image, or is too large.
        """
        from expunge.embeddings.search import image_scores
        from expunge.requests.keys import example_digest

        picture = read_plain(example, MAX_EXAMPLE)
        scores = image_scores(self.paths, self.built, picture)
        best = sorted((-score, name) for name, score in scores.items() if score >= min_score)
        found = [
            {"sample_id": name, "reason": f"image ~ score {-negative:.2f} >= {min_score:g}", "score": -negative}
            for negative, name in best
        ]
        digest = example_digest(picture, self.paths.root)
        return {"kind": "image", "example": digest, "min_score": min_score, "found": found}
