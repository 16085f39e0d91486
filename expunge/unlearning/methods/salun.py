"""SalUn (Fan et al., ICLR 2024, arXiv 2310.12508): random labels, but only for the weights that forgetting needs.

    θ ← θ_o + m ⊙ Δθ,  m = 1[ |∇ L(forget; θ_o)| among the largest half ]

where Δθ descends the loss of `random_labels`. The mask does not belong to the loss: it is `weights.saliency`, and any
other method can have it too. The optimizer has no weight decay, so masked weights do not drift, which they did in the
first public implementation.
"""

from __future__ import annotations

from expunge.unlearning.methods.random_labels import RandomLabels, RandomLabelsParams
from expunge.unlearning.settings import WeightsParams


class SalUnParams(RandomLabelsParams):
    """Random labels for the half of the weights with the largest gradient of the forgotten pairs' loss."""

    weights: WeightsParams = WeightsParams(saliency=0.5)


class SalUn(RandomLabels):
    """Random labels under a saliency mask, which is the default of its parameters."""

    params: SalUnParams
