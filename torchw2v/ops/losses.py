"""The losses that training reports, as functions of scores."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


def logistic_loss(scores: torch.Tensor, weight: torch.Tensor, positive: torch.Tensor | None = None) -> torch.Tensor:
    """Binary cross-entropy of scores: -log sigmoid(score) where the label is 1, -log sigmoid(-score) where it is 0.

    Its sum is the loss of negative sampling and of hierarchical softmax. With a mask as weight and mask * labels as
    positive it is the masked binary cross-entropy of Dive into Deep Learning, section 15.4.

    Parameters
    ----------
    scores : tensor
        Logits, dimensionless.
    weight : tensor that broadcasts with scores
        How many examples each score stands for; 0 leaves it out.
    positive : tensor that broadcasts with scores, optional
        How many of them have label 1; none if not given.

    Returns
    -------
    tensor, the broadcast shape, in nats

    Example
    -------
    >>> logistic_loss(torch.tensor([1.1, -2.2]), torch.ones(2), torch.tensor([1.0, 0.0]))
    tensor([0.2873, 0.1051])
    """
    loss = softplus(scores) * weight
    return loss if positive is None else loss - scores * positive
