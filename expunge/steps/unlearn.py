"""Step `unlearn`: the parent's model and the sets of release R → models/R."""

from __future__ import annotations

from expunge.steps.together import training_main
from expunge.unlearning.release import unlearn_release

if __name__ == "__main__":
    training_main(unlearn_release, "expunge.steps.unlearn")
