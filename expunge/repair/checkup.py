"""Every question of `expunge doctor`, in the order of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from expunge.project.errors import ExpungeError
from expunge.repair import connections, machine
from expunge.repair.state import Site
from expunge.repair.symptoms import Symptom

Question = Callable[[Site], Iterator[Symptom]]

QUESTIONS: tuple[Question, ...] = (
    machine.gpu,
    machine.torchvision,
    machine.faiss,
    machine.model,
    machine.disk,
    machine.ports,
    connections.pipeline,
    connections.keys,
    connections.ledger,
    connections.mlflow,
    connections.prefect,
    connections.remotes,
)


def checkup(site: Site, questions: Sequence[Question] = QUESTIONS) -> list[Symptom]:
    """The answers; a question that cannot be answered is in the way itself."""
    found: list[Symptom] = []
    for question in questions:
        try:
            found += question(site)
        except ExpungeError as error:
            found.append(Symptom(question.__name__, "blocks", str(error), "do what the message says"))
    return found
