"""The tasks of the release flow, in its order.

A task is retried only when DVC could not get its lock: a stage that fails does so for a reason that a second attempt
does not cure. Timeouts are upper bounds for corpora far larger than the embedded one.
"""

from __future__ import annotations

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from expunge.project.paths import Paths
from tasks.reproduce import reproduce

HOUR = 3600


def _lock_was_busy(_task: object, _run: object, state: State) -> bool:
    from dvc.lock import LockError

    try:
        state.result()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, LockError):
                return True
            cause = cause.__cause__
    return False


def _step(name: str, hours: float) -> Task[[str], dict[str, str]]:
    """A Prefect task that reproduces stage `name` of a release. DVC is the only cache, so Prefect's is off."""

    @task(
        name=name,
        task_run_name=f"{name}-{{release}}",
        cache_policy=NO_CACHE,
        retries=2,
        retry_delay_seconds=[10, 60],
        retry_condition_fn=_lock_was_busy,
        timeout_seconds=hours * HOUR,
    )
    def run(release: str) -> dict[str, str]:
        return reproduce(f"releases/{release}/dvc.yaml:{name}")

    run.__doc__ = f"Reproduce stage `{name}` of `release`; returns its outputs' digests."
    return run


@task(cache_policy=NO_CACHE, timeout_seconds=48 * HOUR)
def parent(release: str) -> dict[str, str]:
    """Bring everything that a new release of parent `release` starts from up to date, base model included.

    What a purge has made the beginning of the chain is data, which no stage makes.
    """
    outputs = Paths().release(release).outputs
    if outputs.is_file():
        return reproduce(str(outputs), alone=False)
    folder = "" if release == "base" else f"releases/{release}/dvc.yaml:"
    return reproduce(f"{folder}register", alone=False)


select = _step("select", 1)
unlearn = _step("unlearn", 48)
gold = _step("gold", 96)
embed = _step("embed", 24)
index = _step("index", 4)
evaluate = _step("evaluate", 12)
report = _step("report", 1)
register = _step("register", 1)


@task(cache_policy=NO_CACHE)
def live() -> dict[str, str]:
    """Bring the summary of the newest release up to date."""
    return reproduce("live")
