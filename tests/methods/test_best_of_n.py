"""The search and its value function, worked out by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from toys import ScaledToyPolicy, decided

from score_rl.contracts import PlainContext
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import seeded
from score_rl.steering.latent import LatentConfig
from score_rl.steering.learning import Sizes
from score_rl.steering.method import SteeringSpec
from score_rl.steering.methods.best_of_n import BestOfNConfig, BestOfNLearner, BestOfNPolicy
from score_rl.steering.ppo import PPOConfig

POLICY = ScaledToyPolicy()
PPO = PPOConfig(hidden=(8,), gamma=0.9, minibatches=2)
SIZES = Sizes(context=6, critic=2, action=4, envs=2, decisions=3)


def spec_of(**options):
    options = asdict(BestOfNConfig(**{"n": 3, "base_iterations": 1, "memory": 2, **options}))
    return SteeringSpec(6, (4, 1), (4, 1), LatentConfig(), (8,), "elu", 2, POLICY.fingerprint(), "best_of_n", options)


def learner_of(ppo=PPO, **options):
    with seeded("test"):
        return BestOfNLearner(SIZES, ppo, POLICY, spec_of(**options), "cpu")


def prefer_left(ranker):
    """Q = minus the first action of the chunk, in normalised units."""
    network = torch.nn.Linear(10, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
        network.weight[0, 6] = -1.0
    ranker.value.mlp = network


def roll(learner, rewards, dones=(), truncated=()):
    for t, reward in enumerate(rewards):
        learner.act(PlainContext(torch.randn(2, 6)), torch.zeros(2, 2))
        cut = torch.tensor([(t, row) in truncated for row in range(2)])
        done = torch.tensor([(t, row) in dones for row in range(2)]) | cut
        learner.record(decided(torch.tensor(reward), done, cut, torch.tensor([1, 2])), torch.zeros(2, 2))


def constant_critic(learner, value):
    with torch.no_grad():
        learner.critic.mlp[-1].weight.zero_()
        learner.critic.mlp[-1].bias.fill_(value)


def returns_of(learner):
    """Returns (decisions, n) as Q learns them."""
    return learner.rollout.estimate(learner.critic, torch.zeros(2, 2), gae_lambda=1.0)[1]


def test_the_best_candidate_wins():
    trained = BestOfNPolicy(spec_of())
    prefer_left(trained.actor)
    candidates = torch.tensor([[2.0, -1.0, -2.5], [1.0, 0.5, 3.0]]).view(2, 3, 1, 1).expand(2, 3, 4, 1)
    best, features, values = trained.actor.choose(POLICY, PlainContext(torch.zeros(2, 6)), candidates)
    assert best.tolist() == [2, 4]  # row 0: its third candidate, row 1: its second
    # Normalised chunk minus that of latent 0, which is 1: (-1 - 0.125 - 1) / 4 and (1 + 0.025 - 1) / 4.
    assert features[:, 6].tolist() == pytest.approx([-0.53125, 0.00625])
    scale = 1.0 + 1e-2
    assert values[0, 2].item() == pytest.approx(0.53125 / scale)


def test_the_decider_searches_among_its_noise_and_further_draws():
    trained = BestOfNPolicy(spec_of(n=16))
    prefer_left(trained.actor)
    window = {"state": torch.randn(50, 2, 2), "command": torch.randn(50, 2, 1)}
    noise = torch.randn(50, 4, 1, generator=torch.Generator().manual_seed(4))
    decider = trained.deciders(POLICY)["best_of_n"]
    decision = decider.decide(window, noise)
    assert (decision.latent.mean(dim=1) < 0).all()  # of 16 candidates one pushes to the left
    assert torch.equal(decision.chunk, POLICY.decode(POLICY.encode(window), decision.latent))
    alone = decider.decide({key: values[9:10] for key, values in window.items()}, noise[9:10])
    assert torch.equal(alone.latent, decision.latent[9:10])
    assert decision.latent.abs().max() <= 3.0


def test_returns_discount_by_control_steps_and_stop_at_the_end_of_an_episode():
    learner = learner_of()
    constant_critic(learner, 10.0)
    roll(learner, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], dones={(1, 0)})
    returns = returns_of(learner)
    g = 0.9**2
    assert returns[:, 0].tolist() == pytest.approx([1 + g * 2, 2.0, 3 + g * 10])
    assert returns[:, 1].tolist() == pytest.approx([1 + g * (2 + g * (3 + g * 10)), 2 + g * (3 + g * 10), 3 + g * 10])


def test_a_time_out_is_bootstrapped_by_its_own_steps():
    learner = learner_of()
    constant_critic(learner, 10.0)
    roll(learner, [[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], truncated={(0, 0), (1, 1)})
    returns = returns_of(learner)
    assert returns[0, 0].item() == pytest.approx(1 + 0.9**1 * 10)  # row 0 took one step, row 1 two
    assert returns[1, 1].item() == pytest.approx(2 + 0.9**2 * 10)


def test_it_starts_with_the_base_policy_and_then_searches():
    learner = learner_of()
    prefer_left(learner.actor)
    with seeded("act"):
        means = []
        for _ in range(2):
            chosen = [learner.act(PlainContext(torch.zeros(500, 6)), torch.zeros(500, 2)) for _ in range(1)]
            means.append(chosen[0].mean().item())
            learner.iteration += 1
    assert abs(means[0]) < 0.15 and means[1] < -0.15


def test_the_memory_holds_the_newest_iterations():
    learner = learner_of()
    for reward in (1.0, 2.0, 3.0):
        constant_critic(learner, 0.0)
        roll(learner, [[reward, reward]] * 3, dones={(t, row) for t in range(3) for row in range(2)})
        metrics = learner.update(torch.zeros(2, 2))
    assert [part["returns"].mean().item() for part in learner._memory] == [2.0, 3.0]
    assert {"q_loss", "value_loss", "explained_variance", "q_gain"} <= metrics.keys()


@pytest.mark.parametrize(("elapsed", "moves"), [(0.0, True), (1.0, False)])
def test_its_steps_fall_as_those_of_all_methods(elapsed, moves):
    learner = learner_of(replace(PPO, final_learning_rate=0.0))
    before = learner.critic.mlp[-1].bias.clone()
    roll(learner, [[1.0, 0.0]] * 3)
    learner.update(torch.zeros(2, 2), elapsed)
    assert torch.equal(learner.critic.mlp[-1].bias, before) is not moves


def test_an_incomplete_memory_is_refused():
    learner = learner_of()
    roll(learner, [[1.0, 0.0]] * 3)
    learner.update(torch.zeros(2, 2))
    tensors, settings = learner.state()
    del tensors["memory0.returns"]
    with pytest.raises(ScoreError, match="here: the memory"):
        learner_of().load_state(tensors, settings, "here")
