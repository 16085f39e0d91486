"""Which texts stand for the forgotten pairs, for methods that work on text embeddings."""

from __future__ import annotations

from expunge.errors import ExpungeError
from expunge.training import possible_captions
from expunge.unlearning.task import Task


def split_captions(task: Task) -> tuple[list[str], list[str]]:
    """Captions that only forgotten pairs have, and captions of retained pairs, in all templates of the recipe.

    Raises:
        ExpungeError: no caption is the forgotten pairs' own.
    """
    retained = set(possible_captions(task.retain, task.training))
    forgotten = set(possible_captions(task.forget, task.training)) - retained - set(task.remaining.captions)
    if not forgotten:
        raise ExpungeError("Retained pairs share every caption of the forget set; choose a method that reads pictures.")
    return sorted(forgotten), sorted(retained)
