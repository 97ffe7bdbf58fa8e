"""Controls without training: what they draw and which draw they take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from toys import ScaledToyPolicy, ToyPolicy

from score_rl.core.errors import ScoreError
from score_rl.steering.config import SteerConfig
from score_rl.steering.controls import ControlsConfig as Config
from score_rl.steering.controls import control, most_typical, ranked
from score_rl.steering.heads import LatentHead, more_noise
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.method import SCORE
from score_rl.steering.methods import METHODS
from score_rl.steering.plan import steering_spec
from score_rl.steering.policy import blank_policy, compulsory_deciders, decision_noise
from score_rl.steering.ppo import PPOConfig

WINDOW = {"state": torch.randn(5, 2, 2), "command": torch.randn(5, 2, 1)}
NOISE = decision_noise(range(5), 0, (4, 1))
CONFIG = SteerConfig(execute_steps=4, latent=LatentConfig("subspace", 1), ppo=PPOConfig(hidden=(4,)))


def trained(name, policy, options=None):
    return blank_policy(policy, steering_spec(policy, CONFIG, METHODS[name], options), METHODS[name])


def test_tiled_repeats_the_first_row_within_the_bound():
    noise = torch.tensor([[[1.0], [2.0]], [[-7.0], [0.5]]])
    policy = ToyPolicy(horizon=2)
    window = {"state": torch.zeros(2, 2, 2), "command": torch.zeros(2, 2, 1)}
    decision = control("base_tiled", policy, Config()).decide(window, noise)
    assert decision.latent.flatten().tolist() == [1.0, 1.0, -3.0, -3.0]
    assert torch.allclose(decision.chunk.flatten(), torch.tensor([1.05, 1.05, -1.15, -1.15]))


def test_the_most_typical_point_has_the_least_mean_distance():
    points = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [3.0, 1.0]]])
    # sums of distances: 3 + 5 + sqrt(10), 3 + 4 + 1, 5 + 4 + 3, sqrt(10) + 1 + 3 = 7.16
    assert most_typical(points).tolist() == [3]


def test_most_supported_takes_the_middle_of_its_draws_and_its_first_is_the_base_policys():
    policy = ScaledToyPolicy()
    decision = control("most_supported_of_n", policy, Config(samples=9)).decide(WINDOW, NOISE)
    draws = torch.cat((NOISE.unsqueeze(1), more_noise(NOISE, 8)), dim=1).clamp(-3, 3)
    for row in range(5):
        chunks = policy.decode(policy.encode(WINDOW), draws[row])
        distance = torch.stack([(chunks - chunk).flatten(1).norm(dim=1).mean() for chunk in chunks])
        assert torch.equal(decision.latent[row], draws[row, distance.argmin()])
        assert torch.equal(decision.chunk[row], chunks[distance.argmin()])


def test_best_of_n_over_the_steered_distribution(monkeypatch):
    """The ranker is handed the steering policy's own draws: its mean and std around the chosen modes."""
    policy = ScaledToyPolicy()
    steering, ranker = trained("score", policy), trained("best_of_n", policy, {"n": 4})
    steering.actor.start_at(torch.tensor([2.0]), 0.1)
    given = []

    def choose(policy, context, candidates):
        given.append(candidates)
        n, m = candidates.shape[:2]
        return 3 + m * torch.arange(n), None, None  # always the last one

    monkeypatch.setattr(type(ranker.actor), "choose", staticmethod(choose))
    (decider,) = ranked(policy, steering, ranker).values()
    decision = decider.decide(WINDOW, NOISE)
    (candidates,) = given
    assert candidates.shape == (5, 4, 4, 1)
    first = steering.stochastic(policy, policy.encode(WINDOW), NOISE)
    assert torch.allclose(candidates[:, 0], first.latent)
    chosen = LatentMap(CONFIG.latent, (4, 1)).coordinates(candidates.flatten(0, 1))
    assert chosen.mean().item() == pytest.approx(2.0, abs=0.1)
    assert torch.equal(decision.latent, candidates[:, 3])


def test_what_cannot_be_compared_is_refused():
    policy = ScaledToyPolicy()
    with pytest.raises(ScoreError, match="base_tiled"):
        control("base_tilde", policy, Config())
    with pytest.raises(ScoreError, match="at least 3 samples"):
        control("most_supported_of_n", policy, Config(samples=2))
    with pytest.raises(ScoreError, match="has no `normalize`"):
        control("most_supported_of_n", ToyPolicy(), Config())
    residual = trained("residual", policy, {"scale": 0.1, "bound": 1.0})
    with pytest.raises(ScoreError, match="residual does not choose latents"):
        ranked(policy, residual, trained("best_of_n", policy, {"n": 4}))
    with pytest.raises(ScoreError, match="score has none"):
        ranked(policy, residual, trained("score", policy))


def test_a_given_ticket_is_among_what_is_always_compared():
    policy = ScaledToyPolicy()
    ticket, steering = trained("base_ticket", policy, {"candidates": 4}), trained("score", policy)
    names = ["base", "base_z0", "base_ticket", "score_stoch", "score_det"]
    assert list(compulsory_deciders(policy, ticket, steering)) == names
    assert list(compulsory_deciders(policy, None, steering)) == ["base", "base_z0", "score_stoch", "score_det"]


def test_a_complement_is_kept_where_a_part_of_the_latent_is_chosen():
    latent = LatentMap(LatentConfig("subspace", 1), (2, 1))
    head = LatentHead(latent, torch.tensor([[1.0], [0.0]]))
    # Modes of (1, 0): 1/sqrt(2) and the difference; w = 0 takes the mean away: (0.5, -0.5)
    found = head.latent(torch.zeros(1, 1), torch.randn(1, 2, 1))
    assert torch.allclose(found.flatten(), torch.tensor([0.5, -0.5]))
    policy = SimpleNamespace(decode=lambda context, latent: latent * 2)
    assert torch.allclose(
        head.act(policy, None, torch.zeros(1, 1), torch.randn(1, 2, 1)).chunk.flatten(), torch.tensor([1.0, -1.0])
    )


def test_score_without_a_complement_is_unchanged():
    spec = steering_spec(ScaledToyPolicy(), CONFIG, SCORE)
    assert spec.options == {} and SCORE.make_head(spec, "cpu").complement is None
