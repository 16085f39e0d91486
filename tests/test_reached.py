"""No room is kept that nobody enters: all of the library serves a step, a command, a flow or the benchmark."""

from __future__ import annotations

import grimp

from expunge.commands.groups import PLACES
from expunge.corpus.sources import SOURCES
from expunge.unlearning.methods import METHODS

DOORS = ("expunge.cli", "expunge.proof.schemas", "expunge.steps", "flows", "bench")
"""What is started by people and machines."""
BY_NAME = {
    "expunge.commands.groups": [
        f"expunge.commands.{place.partition(':')[0]}" for places in PLACES.values() for place in places.values()
    ],
    "expunge.corpus.sources": [f"expunge.corpus.sources.{name}" for name in SOURCES],
    "expunge.unlearning.registry": [f"expunge.unlearning.methods.{name}" for name in METHODS],
}
"""Module → what it imports by name, as a setting says."""
PROCESSES = ("expunge.lineage.mlflow.server", "expunge.selection.sandbox")
"""What the library starts by name, as a process of its own."""


def unreached(doors: tuple[str, ...]) -> set[str]:
    """Modules of the library that no import leads to from `doors`."""
    graph = grimp.build_graph("expunge", "tasks", "flows", "bench", exclude_type_checking_imports=True, cache_dir=None)
    waiting = [name for name in graph.modules if any(f"{name}.".startswith(f"{door}.") for door in doors)]
    reached: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in reached or module not in graph.modules:
            continue
        reached.add(module)
        package = module.rpartition(".")[0]
        waiting += [*graph.find_modules_directly_imported_by(module), *BY_NAME.get(module, []), package]
    return {name for name in graph.modules if name.partition(".")[0] == "expunge"} - reached


def test_every_module_is_reached_from_a_step_a_command_a_flow_or_the_benchmark() -> None:
    assert unreached((*DOORS, *PROCESSES)) == set()


def test_a_module_without_a_door_is_found() -> None:
    """Without the benchmark nobody enters the room of exact unlearning."""
    assert "expunge.exact.sharded" in unreached((*DOORS[:-1], *PROCESSES))
