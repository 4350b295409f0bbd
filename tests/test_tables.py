"""The alias table is the distribution it was made from, whatever that is."""

import numpy as np
import pytest

from torchw2v.constants import UINT32_SPAN
from torchw2v.tables import alias_table


def law(table):
    """The distribution that an alias table gives, column by column."""
    own = table.accept / UINT32_SPAN
    chances = own.copy()
    np.add.at(chances, table.alias, 1 - own)
    return chances / len(own)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param([1], id="one word"),
        pytest.param([3, 3, 3], id="even"),
        pytest.param([0, 0, 1], id="impossible words"),
        pytest.param([97, 1, 1, 1], id="one hot word"),
        pytest.param([30, 30, 20, 10, 10], id="exactly average"),
        pytest.param(1 / np.arange(1, 50_001) ** 0.75, id="Zipf"),
        pytest.param(np.random.default_rng(1).permutation(1 / np.arange(1, 1001) ** 2), id="shuffled"),
        pytest.param(np.random.default_rng(2).random(10_000) ** 8, id="many gaps span several surpluses"),
        pytest.param(1 + 1e-9 * np.random.default_rng(3).random(1000), id="nearly even"),
    ],
)
def test_an_alias_table_keeps_the_distribution(weights):
    chances = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    table = alias_table(chances)
    assert ((table.accept >= 0) & (table.accept <= UINT32_SPAN)).all()
    assert abs(law(table) - chances).max() * len(chances) < 1e-6  # 2**-32 a column, and the rounding of running sums
