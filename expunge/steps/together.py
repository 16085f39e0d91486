"""Steps that train: by several processes where `compute.processes` asks for them, or under a torchrun of the user's.

`compute.processes: 4` has the stage start torchrun itself. For more than one machine torchrun is started by hand on
each, in the project's folder, which they share: `torchrun … -m expunge.steps.train base`, then `dvc commit train`.
"""

from __future__ import annotations

import os
import sys

from expunge.models import ranks
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.progress import QUIET
from expunge.settings import load_params
from expunge.steps import Step, step_main


def training_main(step: Step, module: str) -> None:
    """Run `step` as `step_main` does, under torchrun where several processes are to train; `module` is the step's.

    Of the processes, the first waits for other stages and writes; the others only compute.
    """
    if ranks.started_by_torchrun():
        if os.environ[ranks.RANK] != "0":
            os.environ[QUIET] = "1"
        with ranks.together():
            step_main(step, waits=ranks.is_first())
        return
    try:
        params = load_params(Paths().params)
    except ExpungeError as error:
        raise SystemExit(f"Error: {error}") from None
    if params.compute.processes > 1 and params.train.external is None:
        ranks.start_torchrun(params.compute.processes, module, *sys.argv[1:])
    step_main(step)
