"""Calibrated scores of entities: of the entities with a score of 0.8, about 80 % are correct.

The score of an entity is a product of token probabilities, and models are usually too sure of themselves. Platt scaling (Platt
1999) corrects this with two numbers that are fitted to labelled sentences on which the adapter was not trained:

    calibrated  =  sigmoid(slope * logit(score) + intercept)

>>> ScoreCalibration.fit([0.99, 0.98, 0.97, 0.6], [True, True, False, False])(0.98) < 0.98
True
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .untrusted_files import LIMITS

_SURE = 1e-6  # scores are kept this far from 0 and 1, where the logit is infinite
_PRIOR = 1.0  # weight of the assumption that scores are calibrated already, in entities
_STEPS = 100


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """A calibration of the scores of one adapter in one way of decoding.

    Attributes:
        slope: Factor of the logit of the score.
        intercept: What is added to it.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, score: float) -> float:
        """The calibrated score."""
        score = min(max(score, _SURE), 1 - _SURE)
        x = self.slope * math.log(score / (1 - score)) + self.intercept
        return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))  # neither of the two can overflow

    @classmethod
    def fit(cls, scores: Sequence[float], correct: Sequence[bool]) -> "ScoreCalibration":
        """Fits a calibration by maximum likelihood.

        Args:
            scores: The scores of predicted entities.
            correct: Whether each of them is correct.
        """
        x = torch.tensor(scores, dtype=torch.float64).logit(_SURE)
        labels = torch.tensor(correct, dtype=torch.float64)
        # The logarithm of the slope, so that the order of scores stays, and the intercept.
        weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            errors = binary_cross_entropy_with_logits(weights[0].exp() * x + weights[1], labels, reduction="sum")
            value = errors + _PRIOR / 2 * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.enable_grad():
            optimizer.step(loss)  # type: ignore[no-untyped-call]
        logarithm, intercept = weights.tolist()
        return cls(min(math.exp(logarithm), LIMITS.calibration), max(min(intercept, LIMITS.calibration), -LIMITS.calibration))
