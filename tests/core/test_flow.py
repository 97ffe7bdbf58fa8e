"""Sampler and inverse against numbers worked out by hand."""

import math

import pytest
import torch

from score_rl.core.flow import gaussian_skip, invert_midpoint, midpoint, path


def test_path_runs_from_noise_to_data():
    noise, data = torch.tensor([[2.0], [2.0], [2.0]]), torch.tensor([[6.0], [6.0], [6.0]])
    x, velocity = path(noise, data, torch.tensor([0.0, 0.25, 1.0]))
    assert x.flatten().tolist() == [2.0, 3.0, 6.0]
    assert velocity.flatten().tolist() == [4.0, 4.0, 4.0]


def test_midpoint_step_on_a_linear_field_is_its_taylor_polynomial():
    # dx/dt = 2 x with one step: x (1 + 2 + 2^2 / 2) = 5 x; with two steps of 1/2: x (1 + 1 + 1/2)^2 = 6.25 x.
    x = torch.tensor([[1.0], [-3.0]])
    assert midpoint(lambda x, t: 2.0 * x, x, 1).flatten().tolist() == [5.0, -15.0]
    assert midpoint(lambda x, t: 2.0 * x, x, 2).flatten().tolist() == [6.25, -18.75]


def test_midpoint_evaluates_time_dependent_fields_at_the_middle():
    # dx/dt = t: the midpoint rule is exact, x(1) = x(0) + 1/2.
    x = midpoint(lambda x, t: torch.full_like(x, t), torch.zeros(1, 1), 3)
    assert x.item() == pytest.approx(0.5)


def test_gaussian_skip_at_the_ends_and_in_the_middle():
    skip, scale = gaussian_skip(torch.tensor([0.0, 0.5, 1.0]), width=0.5)
    # t = 0: w = -1, c = 1. t = 1/2: D = 0.25 + 0.0625 = 0.3125, w = (0.125 - 0.5) / D = -1.2,
    # c = sqrt(0.25 + 0.25 * 0.0625) / D. t = 1: w = c = 1.
    assert skip.tolist() == pytest.approx([-1.0, -1.2, 1.0])
    assert scale.tolist() == pytest.approx([1.0, math.sqrt(0.265625) / 0.3125, 1.0])


def test_flow_of_a_gaussian_with_the_analytic_velocity_reaches_that_gaussian():
    # For data N(m, s^2) the velocity is w x + (1 - t) / D m and the exact flow is z -> m + s z.
    mean, width = 0.7, 0.4

    def velocity(x, t):
        skip, _ = gaussian_skip(torch.tensor(t), width)
        return skip * x + (1.0 - t) / ((1.0 - t) ** 2 + (t * width) ** 2) * mean

    z = torch.linspace(-3.0, 3.0, 7)[:, None].double()
    assert torch.allclose(midpoint(velocity, z, 400), mean + width * z, atol=1e-4)


def test_gaussian_skip_leaves_a_residual_of_unit_scale():
    # Data of unit variance: mean over conditions N(0, 1 - s^2), width s around it.
    width, generator = 0.3, torch.Generator().manual_seed(0)
    draw = lambda: torch.randn(200_000, generator=generator)  # noqa: E731
    data, noise = math.sqrt(1 - width**2) * draw() + width * draw(), draw()
    for t in (0.1, 0.5, 0.9, 0.99):
        x, target = path(noise, data, torch.full_like(data, t))
        skip, scale = gaussian_skip(torch.tensor(t), width)
        assert ((target - skip * x) / scale).std().item() == pytest.approx(1.0, abs=0.01)


def test_inverse_undoes_the_discrete_sampler():
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 3.0
    field = lambda x, t: torch.tanh(x @ weights + t)  # noqa: E731
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    inverse = invert_midpoint(field, midpoint(field, z, 5), 5, tolerance=1e-10)
    assert inverse.converged.all()
    assert inverse.residual.max() < 1e-10
    assert (inverse.latent - z).abs().max() < 1e-8
    # The discrete map, not the ODE: the reverse integration is a different map.
    reverse = midpoint(lambda x, t: -field(x, 1.0 - t), midpoint(field, z, 5), 5)
    assert (reverse - z).abs().max() > 1e-4


def test_inverse_reports_the_rows_it_can_not_invert():
    # dx/dt = -k x with one step: z -> z (1 - k + k^2 / 2). k = 1 contracts with rate 1/2; k = 4 gives z -> 5 z,
    # whose iteration u <- u + (x - 5 u) diverges.
    k = torch.tensor([[1.0], [4.0]])
    inverse = invert_midpoint(lambda x, t: -k * x, torch.ones(2, 1), 1, tolerance=1e-5, max_iterations=50)
    assert inverse.converged.tolist() == [True, False]
    assert inverse.latent[0].item() == pytest.approx(2.0, abs=1e-4)
    assert inverse.rate[0].item() == pytest.approx(0.5, abs=0.05)
