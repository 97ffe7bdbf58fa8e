"""Support by inversion: latents come back, violations are seen, and where it fails it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from trained import ACTIONS

from score_rl.core.flow import Inversion
from score_rl.evaluation.support.figures import record_figures
from score_rl.evaluation.support.inversion import invert_executed
from score_rl.evaluation.support.meter import Ranks, SupportConfig, SupportMeter

pytestmark = pytest.mark.slow

LOW, HIGH = [-1.2] * ACTIONS, [1.2] * ACTIONS


def figures(meter: SupportMeter, executed) -> dict:
    ranks = Ranks(*[torch.zeros(1, dtype=torch.int64)] * 2, *torch.zeros(2, 1), torch.zeros(1, 8), torch.zeros(1))
    return record_figures(ranks, invert_executed(meter, executed), meter.config)


@pytest.fixture(scope="module")
def meter(motions) -> SupportMeter:
    return SupportMeter(motions, LOW, HIGH, SupportConfig(inversions=120))


def test_base_samples_come_back(meter: SupportMeter, planted) -> None:
    found = figures(meter, planted("base"))
    assert found["support_latent_converged"] >= 0.99 and found["support_latent_error_p95"] < 1e-2
    assert found["support_latent_expansion"] > 5  # spreads of 0.03: errors grow
    assert found["support_latent_violation_rate"] <= 0.04
    assert found["support_latent_auc"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("kind", "at_least"), [(0.1, 0.9), ("other state", 0.97), ("uniform", 1.0)])
def test_planted_violations_have_unlikely_latents(kind, at_least: float, meter: SupportMeter, planted) -> None:
    found = figures(meter, planted(kind))
    assert found["support_latent_violation_rate"] >= at_least and found["support_latent_auc"] > 0.95


def test_small_noise_is_seen_and_the_mean_is_inside(meter: SupportMeter, planted) -> None:
    assert figures(meter, planted(0.03))["support_latent_auc"] > 0.8
    found = figures(meter, planted("z0"))
    assert found["support_latent_inside_rate"] > 0.9 and found["support_latent_typicality"] < 0.1


def test_only_whole_chunks_have_a_latent(meter: SupportMeter, planted) -> None:
    executed = planted("base", 4)
    steps = executed.steps.clone()
    steps[1] = 3
    latents = invert_executed(meter, replace(executed, steps=steps))
    assert latents.episode.tolist() == [0, 2, 3]
    assert invert_executed(meter, replace(executed, steps=torch.full((4,), 3))) is None


class Stubborn:
    """A policy whose inversion does not converge for every second chunk."""

    def __init__(self, policy) -> None:
        self.spec, self.encode, self.decode = policy.spec, policy.encode, policy.decode
        self._policy = policy

    def invert(self, context, chunk, tolerance, max_iterations) -> Inversion:
        found = self._policy.invert(context, chunk, tolerance, max_iterations)
        return replace(found, converged=torch.arange(len(chunk)) % 2 == 0)


def test_where_it_fails_it_says_so_and_claims_nothing(motions, planted) -> None:
    found = figures(SupportMeter(Stubborn(motions), LOW, HIGH), planted("base", 20))
    assert found["support_latent_converged"] == 0.5 and found["support_latent_error_p95"] is None
    assert "support_latent_violation_rate" not in found and "support_violation_rate" in found


def test_a_policy_without_the_capability_has_no_latent_figures(motions, planted) -> None:
    blind = Stubborn(motions)
    blind.invert = None
    assert invert_executed(SupportMeter(blind, LOW, HIGH), planted("base", 3)) is None
