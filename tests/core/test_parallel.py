"""Rows side by side: same numbers as in one piece, gradients off in every thread."""

import pytest
import torch

from score_rl.core.parallel import ROWS_PER_BLOCK, map_rows


@pytest.mark.parametrize("n", [1, ROWS_PER_BLOCK, ROWS_PER_BLOCK + 1, 3 * ROWS_PER_BLOCK])
def test_every_row_once_and_in_order(n):
    a, b = torch.arange(n).float(), torch.arange(n).float() ** 2
    torch.testing.assert_close(map_rows(lambda x, y: x + 2 * y, a, b), a + 2 * b, rtol=0, atol=0)


def test_blocks_are_of_64_rows_and_without_gradients():
    seen = []

    def function(x):
        seen.append((len(x), torch.is_grad_enabled()))
        return x * 2

    doubled = map_rows(function, torch.ones(150, requires_grad=True))
    assert sorted(seen) == [(22, False), (64, False), (64, False)]
    assert not doubled.requires_grad and torch.is_grad_enabled()


def test_an_error_of_a_block_arrives():
    def function(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        map_rows(function, torch.zeros(200))
