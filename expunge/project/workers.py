"""Work on shards, here or by the workers of a Ray cluster: the same function, the same results, in the same order.

`EXPUNGE_WORKERS=8` hands the shards of catalog and embeddings to eight actors of Ray: those of a cluster where
RAY_ADDRESS names one, else processes of this machine. What comes out does not depend on it, so it is not a setting of
params.yaml. The project's folder has the same path on every machine. An actor that dies is started again, and so is
the work that it held, which writes a file completely or not at all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from expunge.project.errors import ExpungeError
from expunge.project.telemetry import switch_off

WORKERS = "EXPUNGE_WORKERS"
AHEAD = 2
"""Items that an actor has waiting, the one in work included."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers() -> int:
    """How many actors are asked for; 1 stands for this process alone.

    Raises:
        ExpungeError: the environment names something else than a number.
    """
    named = os.environ.get(WORKERS, "1")
    if not named.isdecimal() or int(named) < 1:
        raise ExpungeError(f"{WORKERS} is {named!r}; it must be a whole number from 1.")
    return int(named)


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    elsewhere: Callable[[], Callable[[Item], Result]] | None,
    gpus: float = 0,
) -> Iterator[Result]:
    """The results of `function` for `items`, in their order.

    Args:
        elsewhere: makes the same function in an actor, once; None: the work can only be done here.
        gpus: what an actor occupies.

    Raises:
        ExpungeError: the work failed, or Ray is asked for and not installed.
    """
    count = workers()
    if count == 1 or elsewhere is None:
        yield from map(function, items)
        return
    yield from _by_actors(elsewhere, items, count, gpus)


def _by_actors(
    make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], count: int, gpus: float
) -> Iterator[Result]:
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        cores = None if "RAY_ADDRESS" in os.environ else max(count, os.cpu_count() or 1)
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)(_Actor)
        actors = [actor.remote(make, os.getcwd()) for _ in range(count)]
        waiting: deque[Any] = deque()
        for number, item in enumerate(items):
            waiting.append(actors[number % count].run.remote(item))
            if len(waiting) == AHEAD * count:
                yield _result(ray, waiting.popleft())
        while waiting:
            yield _result(ray, waiting.popleft())
    finally:
        if ours:
            ray.shutdown()


class _Actor:
    """One worker: it makes the function when it starts, and again when it is started again."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        os.chdir(folder)
        self._function = make()

    def run(self, item: Any) -> Any:
        return self._function(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ExpungeError):
            raise error.cause from None
        raise


def _ray() -> Any:
    """Ray, which tells its makers nothing.

    Raises:
        ExpungeError: it is not installed.
    """
    switch_off()
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ExpungeError(f"{WORKERS} asks for Ray, which is not installed: pip install 'expunge[ray]'.") from None
    return ray
