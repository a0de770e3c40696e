"""Sentences of one text share their evidence: a text is mostly in one language, and may change to another midway.

>>> uniform = torch.tensor([0.5, 0.5]).log()
>>> shared(torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]]).log(), uniform, stay=0.9).exp().argmax(-1)
tensor([0, 0, 0])
"""

import torch
from torch import Tensor

_NEARLY = 1e-9  # what is impossible would be so whatever the sentences say


def shared(log_likelihoods: Tensor, log_prior: Tensor, stay: float) -> Tensor:
    """Posteriors of the sentences of a text, each knowing all others: the forward-backward algorithm of a Markov chain.

    The first sentence is in a language drawn from the prior; each further one keeps the language of the one before, or draws
    anew. So the prior counts once, however many sentences there are.

    Args:
        log_likelihoods: ``[sentences, languages]``: of each sentence for itself, up to a constant, in the order of the text.
        log_prior: ``[languages]``; minus infinity for those that are ruled out.
        stay: Probability that a sentence keeps the language of the one before without drawing anew.

    Returns:
        ``[sentences, languages]``: log-posteriors.
    """
    if len(log_likelihoods) < 2:
        return (log_likelihoods + log_prior).log_softmax(-1)
    stay = min(max(stay, _NEARLY), 1 - _NEARLY)
    languages = torch.eye(len(log_prior), dtype=log_prior.dtype)
    change = (stay * languages + (1 - stay) * log_prior.softmax(-1)).log()
    forward = [(log_likelihoods[0] + log_prior).log_softmax(-1)]
    backward = [torch.zeros_like(log_prior)]
    for here in log_likelihoods[1:]:
        forward.append((here + torch.logsumexp(forward[-1][:, None] + change, 0)).log_softmax(-1))
    for after in log_likelihoods[1:].flip(0):
        backward.append(torch.logsumexp(change + (after + backward[-1])[None], 1).log_softmax(-1))
    return (torch.stack(forward) + torch.stack(backward[::-1])).log_softmax(-1)
