"""Temporal modes."""

from __future__ import annotations

import math

import pytest
import torch

from score_rl.core.dct import dct_basis, from_modes, to_modes


def test_basis_is_orthonormal_and_starts_with_a_constant():
    basis = dct_basis(8, 8)
    assert torch.allclose(basis.T @ basis, torch.eye(8), atol=1e-6)
    assert torch.allclose(basis[:, 0], torch.full((8,), 1 / math.sqrt(8)), atol=1e-7)
    # Column 1 by hand: sqrt(2/8) cos(pi (t + 1/2) / 8) at t = 0 and t = 7.
    assert basis[0, 1].item() == pytest.approx(0.5 * math.cos(math.pi / 16), abs=1e-6)
    assert basis[7, 1].item() == pytest.approx(-0.5 * math.cos(math.pi / 16), abs=1e-6)


def test_modes_round_trip_and_keep_length():
    chunk = torch.randn(3, 6, 2)
    modes = to_modes(chunk)
    assert torch.allclose(from_modes(modes), chunk, atol=1e-5)
    assert modes.norm().item() == pytest.approx(chunk.norm().item(), rel=1e-5)


def test_a_constant_chunk_is_its_first_mode():
    modes = to_modes(torch.full((1, 4, 1), 3.0))
    assert modes.flatten().tolist() == pytest.approx([6.0, 0.0, 0.0, 0.0], abs=1e-5)  # 3 sqrt(4)
