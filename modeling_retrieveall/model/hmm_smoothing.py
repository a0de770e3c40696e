"""Smooths the language posteriors of a text: its sentences are mostly in one language, which may change within the text.

The languages of the sentences are the states of a hidden Markov model, and the router's scores are its observations:

>>> uniform = torch.tensor([0.5, 0.5]).log()
>>> log_likelihoods = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]]).log()
>>> smooth_posteriors(log_likelihoods, uniform, stay=0.9).exp().argmax(-1)
tensor([0, 0, 0])
"""

import torch
from torch import Tensor

_EPSILON = 1e-9
"""Keeps transition probabilities away from 0 and 1, whose logarithms would override any evidence."""


def smooth_posteriors(log_likelihoods: Tensor, log_prior: Tensor, stay: float) -> Tensor:
    """Posteriors of the sentences of a text, each given all sentences (forward-backward algorithm).

    The language of the first sentence is drawn from the prior. Every further sentence keeps the language of the sentence before
    it with probability ``stay``, or its language is drawn from the prior. A long text therefore does not repeat the prior.

    Args:
        log_likelihoods: ``[sentences, languages]``: scores of each sentence alone, up to a constant, in the order of the text.
        log_prior: ``[languages]``; minus infinity for languages that are ruled out.
        stay: Probability that a sentence keeps the language of the sentence before it.

    Returns:
        ``[sentences, languages]``: log-posteriors.
    """
    if len(log_likelihoods) < 2:
        return (log_likelihoods + log_prior).log_softmax(-1)
    stay = min(max(stay, _EPSILON), 1 - _EPSILON)
    same = torch.eye(len(log_prior), dtype=log_prior.dtype)
    transition = (stay * same + (1 - stay) * log_prior.softmax(-1)).log()  # [languages before, languages after]
    forward = [(log_likelihoods[0] + log_prior).log_softmax(-1)]
    backward = [torch.zeros_like(log_prior)]
    for scores in log_likelihoods[1:]:
        forward.append((scores + torch.logsumexp(forward[-1][:, None] + transition, 0)).log_softmax(-1))
    for scores in log_likelihoods[1:].flip(0):
        backward.append(torch.logsumexp(transition + (scores + backward[-1])[None], 1).log_softmax(-1))
    return (torch.stack(forward) + torch.stack(backward[::-1])).log_softmax(-1)
