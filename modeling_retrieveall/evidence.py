"""Sentences of one text share their evidence: a text is mostly in one language, and may change to another midway.

>>> shared(torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]]).log(), stay=0.9).exp().argmax(-1)
tensor([0, 0, 0])
"""

import torch
from torch import Tensor

_NEARLY = 1e-9  # what is impossible would be so whatever the sentences say


def shared(log_posteriors: Tensor, stay: float) -> Tensor:
    """Posteriors of the sentences of a text, each knowing all others: the forward-backward algorithm of a Markov chain.

    Args:
        log_posteriors: ``[sentences, languages]``, of each sentence for itself, in the order of the text.
        stay: Probability that a sentence is in the language of the one before; all others are equally likely.

    Returns:
        ``[sentences, languages]``: log-posteriors.
    """
    count, languages = log_posteriors.shape
    if count < 2 or languages < 2:
        return log_posteriors.log_softmax(-1)
    stay = min(max(stay, _NEARLY), 1 - _NEARLY)
    change = torch.full((languages, languages), (1 - stay) / (languages - 1), dtype=log_posteriors.dtype)
    change = change.fill_diagonal_(stay).log()
    forward, backward = [log_posteriors[0]], [torch.zeros(languages, dtype=log_posteriors.dtype)]
    for here in log_posteriors[1:]:
        forward.append((here + torch.logsumexp(forward[-1][:, None] + change, 0)).log_softmax(-1))
    for after in log_posteriors[1:].flip(0):
        backward.append(torch.logsumexp(change + (after + backward[-1])[None], 1).log_softmax(-1))
    return (torch.stack(forward) + torch.stack(backward[::-1])).log_softmax(-1)
