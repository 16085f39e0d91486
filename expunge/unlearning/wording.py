"""Which texts stand for the forgotten pairs, for methods that work on text embeddings."""

from __future__ import annotations

from expunge.errors import ExpungeError
from expunge.training import possible_captions
from expunge.unlearning.task import Task, Teacher


def split_captions(task: Task, teacher: Teacher) -> tuple[list[str], list[str]]:
    """Captions that only forgotten pairs have, and captions of retained pairs, in all templates of the recipe.

    Raises:
        ExpungeError: no caption is the forgotten pairs' own.
    """
    retained = set(possible_captions(task.retain, task.training))
    kept = retained | set(task.remaining.captions)
    forgotten = [caption for caption in teacher.captions if caption not in kept]
    if not forgotten:
        raise ExpungeError("Retained pairs share every caption of the forget set; choose a method that reads pictures.")
    return forgotten, sorted(retained)
