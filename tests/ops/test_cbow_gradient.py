"""CBOW's two gradients: "corrected" is autograd's, "word2vec" is gensim's, and how they differ is a factor."""

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from torchw2v.ops.reference import Example, Reading, train_example

BAG = [0, 3, 1, 4]  # of input rows; the rest of six is left alone
ROWS, LABELS = [2, 0, 5], [1.0, 0.0, 0.0]


def trained(mean, corrected):
    """Weights before a step of one example, and what the definition adds to them, by alpha."""
    generator = torch.Generator().manual_seed(3)
    inputs, outputs = (torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    before = Reading(inputs.numpy(), outputs.numpy(), None)
    after, example = before.snapshot(), Example(BAG, center=2)
    for row, label in zip(ROWS, LABELS, strict=True):
        example.add("outputs", row, label)
    train_example(before, after, example, 0.025, cbow_mean=mean, corrected=corrected, skip_gram=False)
    return inputs, outputs, (after.inputs - before.inputs) / 0.025, (after.outputs - before.outputs) / 0.025


@pytest.mark.parametrize("mean", [True, False], ids=["mean", "sum"])
def test_corrected_is_the_gradient_that_autograd_finds(mean):
    inputs, outputs, moved_inputs, moved_outputs = trained(mean, corrected=True)
    inputs.requires_grad_()
    outputs.requires_grad_()
    hidden = inputs[BAG].mean(0) if mean else inputs[BAG].sum(0)
    signs = 2 * torch.tensor(LABELS, dtype=torch.float64) - 1
    logsigmoid(signs * (outputs[ROWS] @ hidden)).sum().backward()
    assert np.abs(moved_inputs).max() > 0.01
    np.testing.assert_allclose(moved_inputs, inputs.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(moved_outputs, outputs.grad.numpy(), atol=1e-13)


@pytest.mark.parametrize(("mean", "factor"), [(True, 1 / len(BAG)), (False, len(BAG))], ids=["mean", "sum"])
def test_corrected_is_a_factor_away_from_word2vecs(mean, factor):
    *_, right_inputs, right_outputs = trained(mean, corrected=True)
    *_, inputs, outputs = trained(mean, corrected=False)
    np.testing.assert_allclose(right_inputs, factor * inputs, rtol=1e-12)
    np.testing.assert_array_equal(right_outputs, outputs)
