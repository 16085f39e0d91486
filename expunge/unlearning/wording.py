"""Which texts stand for the forgotten pairs, for methods that work on text embeddings."""

from __future__ import annotations

from expunge.models.training import possible_captions
from expunge.project.errors import ExpungeError
from expunge.unlearning.problem import Problem


def split_captions(problem: Problem) -> tuple[list[str], list[str]]:
    """Captions that only forgotten pairs have, and captions of retained pairs, in all templates of the recipe.

    Raises:
        ExpungeError: no caption is the forgotten pairs' own.
    """
    retained = set(possible_captions(problem.retain, problem.training))
    forgotten = set(possible_captions(problem.forget, problem.training)) - retained - set(problem.remaining.captions)
    if not forgotten:
        raise ExpungeError("Retained pairs share every caption of the forget set; choose a method that reads pictures.")
    return sorted(forgotten), sorted(retained)
