"""A linear probe that forgets exactly: a ridge classifier in closed form, after ACU (arXiv 2505.12239, 2025).

On frozen image embeddings X [N, D] and one-hot classes Y [N, C]

    W = R Xᵀ Y,  R = (Xᵀ X + λI)⁻¹

To forget the rows X_f, Y_f, R is down-dated by the Woodbury identity and W follows (recursive least squares; derived
here, since the paper was known from its abstract only):

    R′ = R + R X_fᵀ (I − X_f R X_fᵀ)⁻¹ X_f R,   W′ = W − R′ X_fᵀ (Y_f − X_f W)

which is the probe fitted without these rows, at a cost that depends on their number and on D, not on N. Exact means
exact for the probe: a backbone that was trained on the forgotten pictures still holds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.project.errors import ExpungeError


@dataclass(frozen=True)
class Probe:
    """A fitted probe; `forget` returns a new one.

    Attributes:
        classes: names of the C columns.
        weights: W, float64 [D, C].
        inverse: R, float64 [D, D].
    """

    classes: tuple[str, ...]
    weights: np.ndarray
    inverse: np.ndarray

    @classmethod
    def fit(cls, embeddings: np.ndarray, classes: Sequence[str], ridge: float) -> Probe:
        """Fit embeddings [N, D] to the names of their classes, with λ = `ridge` > 0."""
        x, names = np.asarray(embeddings, np.float64), tuple(sorted(set(classes)))
        inverse = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))
        return cls(names, inverse @ (x.T @ _one_hot(classes, names)), inverse)

    def predict(self, embeddings: np.ndarray) -> list[str]:
        """The most likely class of each row of embeddings [N, D]."""
        return [self.classes[column] for column in (embeddings @ self.weights).argmax(axis=1)]

    def forget(self, embeddings: np.ndarray, classes: Sequence[str]) -> Probe:
        """The probe without these rows [F, D] of what it was fitted on.

        Raises:
            ExpungeError: a class is not the probe's, or the rows cannot all have been fitted.
        """
        if unknown := set(classes) - set(self.classes):
            raise ExpungeError(f"{len(unknown)} classes of the rows to forget are not classes of the probe.")
        x = np.asarray(embeddings, np.float64)
        through = x @ self.inverse
        remaining = np.eye(len(x)) - through @ x.T
        try:
            np.linalg.cholesky(remaining)
        except np.linalg.LinAlgError:
            raise ExpungeError(
                "These rows were not all fitted, or have been forgotten before; give each fitted row once."
            ) from None
        inverse = self.inverse + through.T @ np.linalg.solve(remaining, through)
        error = _one_hot(classes, self.classes) - x @ self.weights
        return Probe(self.classes, self.weights - inverse @ (x.T @ error), inverse)

    def forget_class(self, embeddings: np.ndarray, name: str) -> Probe:
        """The probe without class `name`, all of whose fitted rows [F, D] are given; it is never predicted again."""
        left = self.forget(embeddings, [name] * len(embeddings))
        kept = [column for column, found in enumerate(left.classes) if found != name]
        return Probe(tuple(left.classes[column] for column in kept), left.weights[:, kept], left.inverse)


def _one_hot(classes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    column = {name: number for number, name in enumerate(names)}
    encoded = np.zeros((len(classes), len(names)))
    encoded[np.arange(len(classes)), [column[name] for name in classes]] = 1
    return encoded
