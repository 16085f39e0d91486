"""Step `climb`: the parent's model and the sets of release R → models/R, by the first method that passes the gate."""

from __future__ import annotations

from expunge.evaluation.ladder import climb
from expunge.steps import step_main

if __name__ == "__main__":
    step_main(climb)
