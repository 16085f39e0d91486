"""Step `unlearn`: the parent's model and the sets of release R → models/R."""

from __future__ import annotations

from expunge.steps import step_main
from expunge.unlearning.release import unlearn_release

if __name__ == "__main__":
    step_main(unlearn_release)
