"""PPO on decisions: returns by hand, the start at N(0, I), state that resumes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from toys import decided

from score_rl.contracts import PlainContext
from score_rl.core.errors import Diverged, ScoreError
from score_rl.core.seeding import seeded
from score_rl.steering.learning import Sizes, generalized_advantages
from score_rl.steering.networks import Critic, GaussianActor
from score_rl.steering.penalties import Penalty, hinge, hinge_penalty
from score_rl.steering.ppo import Learner, PPOConfig

SIZES = Sizes(context=3, critic=2, action=4, envs=2, decisions=3)
SMALL = PPOConfig(hidden=(8,), epochs=2, minibatches=2, gamma=0.9, gae_lambda=1.0)


def learner_of(config=SMALL, sizes=SIZES, steps=2, **options):
    with seeded("test"):
        return Learner(sizes, config, steps, **options)


def constant_critic(learner, value):
    """V(s) = value everywhere."""
    with torch.no_grad():
        learner.critic.mlp[-1].weight.zero_()
        learner.critic.mlp[-1].bias.fill_(value)


def roll(learner, rewards, dones=(), truncated=(), steps=2):
    """One rollout; `dones` and `truncated` are sets of (decision, row)."""
    n = SIZES.envs
    for t, reward in enumerate(rewards):
        learner.act(PlainContext(torch.randn(n, SIZES.context)), torch.randn(n, SIZES.critic))
        cut = torch.tensor([(t, row) in truncated for row in range(n)])
        done = torch.tensor([(t, row) in dones for row in range(n)]) | cut
        result = decided(torch.tensor(reward), done, cut, torch.full((n,), steps))
        learner.record(result, torch.randn(n, SIZES.critic))


def returns_of(learner):
    """Returns (decisions, n) as PPO will see them."""
    following, gae_lambda = torch.zeros(SIZES.envs, SIZES.critic), learner.config.gae_lambda
    return learner.rollout.estimate(learner.critic, following, gae_lambda)[1]


def test_the_actor_starts_at_the_prior_exactly():
    with seeded("actor"):
        actor = GaussianActor(3, 4, (16, 16), "elu")
    mean, std = actor.mean_std(100.0 * torch.randn(50, 3))
    assert torch.equal(mean, torch.zeros(50, 4))
    assert torch.equal(std, torch.ones(4))


def test_discount_is_gamma_to_the_number_of_control_steps():
    learner = learner_of()
    constant_critic(learner, 10.0)
    roll(learner, [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    returns = returns_of(learner)
    g = 0.9**2  # two control steps per decision
    assert returns[2].tolist() == pytest.approx([3 + g * 10, g * 10])
    assert returns[0].tolist() == pytest.approx([1 + g * (2 + g * (3 + g * 10)), g**3 * 10])


def test_termination_cuts_the_value():
    learner = learner_of()
    constant_critic(learner, 10.0)
    roll(learner, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]], dones={(1, 0)})
    returns = returns_of(learner)
    g = 0.9**2
    assert returns[:, 0].tolist() == pytest.approx([1 + g * 2, 2.0, 3 + g * 10])


def test_a_time_out_is_bootstrapped_with_the_final_observation_and_its_own_steps():
    """V is linear here, so that using any other observation or number of steps gives another number."""
    learner = learner_of(PPOConfig(hidden=(1,), activation="identity", gamma=0.9, gae_lambda=1.0, minibatches=1))
    with torch.no_grad():
        learner.critic.mlp[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        learner.critic.mlp[0].bias.zero_()
        learner.critic.mlp[-1].weight.fill_(1.0)
        learner.critic.mlp[-1].bias.zero_()
    learner.critic.observe = lambda inputs: None  # keep the moments at mean 0, std 1
    scale = 1.0 + 1e-2  # std + floor
    for t in range(3):
        learner.act(PlainContext(torch.zeros(2, 3)), torch.full((2, 2), 5.0))
        cut = torch.tensor([t == 1, False])
        final = torch.tensor([[2.0, 0.0], [7.0, 0.0]])
        learner.record(decided(torch.tensor([1.0, 0.0]), cut, cut, torch.tensor([3, 2])), final)
    returns = returns_of(learner)
    assert returns[1, 0].item() == pytest.approx(1 + 0.9**3 * 2.0 / scale)
    g = 0.9**2
    assert returns[0, 0].item() == pytest.approx(1 + g * returns[1, 0].item())
    assert returns[1, 1].item() == pytest.approx(0.0)  # row 1: no reward, and the last value is 0


def test_incomplete_rollouts_are_refused():
    learner = learner_of()
    roll(learner, [[0.0, 0.0]])
    with pytest.raises(ScoreError, match="1 of 3 decisions"):
        learner.update(torch.zeros(2, 2))


def test_a_rollout_keeps_what_it_was_given():
    """A world may write its next observation into the same memory."""
    learner, critic = learner_of(), torch.zeros(2, 2)
    learner.act(PlainContext(torch.zeros(2, SIZES.context)), critic)
    critic += 1.0
    assert learner.rollout["critic"].tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


@pytest.mark.slow
def test_update_moves_the_mean_towards_rewarded_actions():
    sizes = Sizes(context=1, critic=1, action=1, envs=64, decisions=1)
    learner = learner_of(PPOConfig(hidden=(16,), learning_rate=1e-2, minibatches=1), sizes)
    done = torch.ones(64, dtype=torch.bool)
    with seeded("update"):
        for _ in range(20):
            action = learner.act(PlainContext(torch.ones(64, 1)), torch.ones(64, 1))
            reward = -((action[:, 0] - 1.5) ** 2)
            learner.record(decided(reward, done, ~done, torch.ones(64)), torch.ones(64, 1))
            metrics = learner.update(torch.ones(64, 1))
    mean, _ = learner.actor.mean_std(torch.ones(1, 1))
    assert mean.item() == pytest.approx(1.5, abs=0.4)
    assert 0.0 <= metrics["clip_fraction"] <= 1.0
    assert metrics["kl"] >= 0.0


def test_state_resumes_to_the_same_bits():
    def iterate(learner, iteration):
        with seeded("iterate", iteration):
            roll(learner, [[1.0, 0.0]] * 3, truncated={(1, 1)})
            learner.update(torch.randn(2, 2))

    straight = learner_of()
    for iteration in range(4):
        iterate(straight, iteration)
    stopped = learner_of()
    for iteration in range(2):
        iterate(stopped, iteration)
    resumed = learner_of(PPOConfig(**{**vars(SMALL)}))
    resumed.load_state(*stopped.state(), source="test")
    for iteration in range(2, 4):
        iterate(resumed, iteration)
    expected, settings = straight.state()
    got, got_settings = resumed.state()
    assert settings == got_settings
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_state_of_another_learner_is_refused():
    tensors, settings = learner_of(replace(SMALL, hidden=(9,))).state()
    with pytest.raises(ScoreError, match="here"):
        learner_of().load_state(tensors, settings, source="here")


def test_seeded_leaves_the_outer_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded("inner", 1):
        inner = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded("inner", 1):
        assert torch.equal(torch.rand(3), inner)


def test_penalties_act_with_their_coefficients_and_are_logged_before_them():
    """Both pull the log-std by a constant; without rewards nothing else does, and Adam's first step is its size."""
    penalties = (
        Penalty("one", 2.0, lambda actor, policy: torch.tensor([1.0, 3.0]) + 0.0 * actor.log_std[0]),
        Penalty("other", 0.5, lambda actor, policy: 4.0 + actor.log_std[:1] - 2.0 * actor.log_std[1:2]),
    )
    config = replace(SMALL, learning_rate=0.01, epochs=1, minibatches=1)
    learner = learner_of(config, penalties=penalties)
    roll(learner, [[0.0, 0.0]] * SIZES.decisions, dones={(t, row) for t in range(3) for row in range(2)})
    constant_critic(learner, 0.0)
    metrics = learner.update(torch.zeros(2, 2))
    assert (metrics["one"], metrics["other"]) == (2.0, 4.0)
    assert learner.actor.log_std.tolist() == pytest.approx([-0.01, 0.01, 0.0, 0.0], abs=1e-5)
    roll(learner, [[0.0, 0.0]] * SIZES.decisions)
    assert learner.update(torch.zeros(2, 2))["other"] == pytest.approx(4.0 - 0.03)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"max_grad_norm": -1.0},
        {"epochs": 0},
        {"gamma": 1.1},
        {"gae_lambda": -0.1},
        {"hidden": ()},
        {"hidden": (64, -1)},
        {"activation": "eluu"},
        {"minibatches": 4},  # 1 of the 6 decisions each
        {"minibatches": 7},  # more than there are
    ],
)
def test_bad_configurations_are_named(change):
    with pytest.raises(ScoreError, match=next(iter(change))):
        learner_of(PPOConfig(**change))


def test_step_size_falls_linearly_to_its_final_share():
    learner = learner_of(replace(SMALL, learning_rate=0.1, final_learning_rate=0.2))
    used = []
    for elapsed in (0.0, 0.25, 1.0):
        roll(learner, [[0.0, 0.0]] * SIZES.decisions)
        learner.update(torch.zeros(SIZES.envs, SIZES.critic), elapsed)
        used.append(learner.optimizer.param_groups[0]["lr"])
    assert used == pytest.approx([0.1, 0.08, 0.02])


def test_advantages_by_hand():
    """V = 0.5 everywhere, gamma 0.5 per decision, lambda 0.5; row 0 goes on, row 1 ends at its second decision."""
    learner = learner_of(replace(SMALL, gamma=0.5, gae_lambda=0.5, epochs=1), steps=1)
    constant_critic(learner, 0.5)
    roll(learner, [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]], dones={(1, 1)})
    values, returns = learner.rollout.estimate(learner.critic, torch.zeros(2, 2), gae_lambda=0.5)
    advantages = returns - values
    last = 2.0 + 0.5 * 0.5 - 0.5
    middle = (0.5 * 0.5 - 0.5) + 0.25 * last, -0.5
    first = [(1.0 + 0.5 * 0.5 - 0.5) + 0.25 * row for row in middle]
    assert advantages.tolist() == [pytest.approx(first), pytest.approx(middle), pytest.approx([last, last])]
    assert torch.allclose(returns, advantages + 0.5)


@pytest.mark.parametrize(("ratio", "direction"), [(1.5, -1.0), (0.5, 1.0)])
def test_the_ratio_is_clipped(ratio, direction):
    """Two advantages of +-a, of one action in one state: unclipped they cancel. Beyond the clip one of them is held.

    Standardised they are +-sqrt(1/2): at a ratio of 1.5 the objectives are 1.2 and -1.5 times it, at 0.5 they are 0.5
    and -0.8 times it.
    """
    sizes = Sizes(context=1, critic=1, action=1, envs=2, decisions=1)
    learner = learner_of(replace(SMALL, clip=0.2, minibatches=1), sizes)
    action = torch.tensor([[1.0], [1.0]])
    now = learner.actor(torch.ones(2, 1)).log_prob(action).sum(dim=-1).detach()
    batch = {"context": torch.ones(2, 1), "critic": torch.zeros(2, 1), "action": action, "return": torch.zeros(2)}
    batch |= {"log_prob": now - math.log(ratio), "advantage": torch.tensor([3.0, -3.0])}
    assert learner.descend(batch)["surrogate_loss"].item() == pytest.approx(0.3 / 2 * math.sqrt(0.5))
    assert learner.actor.mlp[-1].bias.sign().tolist() == [direction]  # the one that is not held moves the mean


def test_moments_of_a_critics_inputs():
    """Two batches give the mean and variance of all their rows, weighed by their sizes."""
    critic, values = Critic(2, (4,), "elu"), torch.tensor([[1.0, 0.0], [3.0, 0.0], [8.0, 0.0]])
    critic.observe(values[:2])
    critic.observe(values[2:])
    assert critic.mean.tolist() == pytest.approx([4.0, 0.0])
    assert critic.variance.tolist() == pytest.approx([26 / 3, 0.0])
    scaled = critic.normalize(torch.tensor([[4.0 + (26 / 3) ** 0.5 + 0.01, 1.0]]))
    assert scaled.tolist() == [pytest.approx([1.0, 10.0])]  # what never moved is limited


def test_numbers_that_are_not_finite_stop_the_update():
    learner = learner_of()
    roll(learner, [[0.0, 0.0]] * 3)
    learner.rollout.steps[1]["reward"][0] = math.nan
    with pytest.raises(Diverged, match="value_loss of the learner is nan"):
        learner.update(torch.zeros(2, 2))
    learner = learner_of(penalties=(Penalty("steep", 1.0, lambda actor, policy: actor.log_std.abs().sqrt()),))
    roll(learner, [[0.0, 0.0]] * 3)  # the square root has an infinite slope at 0: a finite loss, no gradient
    with pytest.raises(Diverged, match="gradient_norm"):
        learner.update(torch.zeros(2, 2))


def test_layer_norm_takes_away_the_scale_of_a_hidden_layer_and_is_part_of_the_spec():
    """With identity activations a hidden layer (1, 3) becomes (-1, 1); without, its scale reaches the output."""
    values = []
    for layer_norm in (True, False):
        actor = GaussianActor(1, 1, (2,), "identity", layer_norm)
        with torch.no_grad():
            actor.mlp[0].weight.copy_(torch.tensor([[1.0], [3.0]]))
            actor.mlp[0].bias.zero_()
            actor.mlp[-1].weight.copy_(torch.tensor([[0.0, 1.0]]))
        values.append([actor.mean_std(torch.tensor([[x]]))[0].item() for x in (1.0, 100.0)])
    assert values[0] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert values[1] == pytest.approx([3.0, 300.0])
    learner = learner_of(replace(SMALL, layer_norm=True))
    norms = [
        [type(m).__name__ for m in network.mlp].count("LayerNorm") for network in (learner.actor, learner.critic)
    ]
    assert norms == [1, 1]


def test_an_actor_can_start_anywhere():
    actor = GaussianActor(3, 2, (4,), "elu")
    actor.start_at(torch.tensor([1.0, -2.0]), 0.25)
    mean, std = actor.mean_std(torch.randn(5, 3))
    assert torch.equal(mean, torch.tensor([[1.0, -2.0]]).expand(5, 2))
    assert std.tolist() == pytest.approx([0.25, 0.25])


def test_generalized_advantages_by_hand():
    """Two decisions, discount 0.5, lambda 0.5; the second row's episode ends at the first decision."""
    rewards = torch.tensor([[0.0, 3.0], [2.0, 0.0]])
    going = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    values = torch.tensor([[1.0, 1.0], [2.0, 4.0]])
    found = generalized_advantages(rewards, going, values, torch.tensor([4.0, 2.0]), gamma=0.5, gae_lambda=0.5)
    # row 0: d1 = 2 + 2 - 2 = 2; d0 = 0 + 1 - 1 = 0, A0 = 0 + 0.25 * 2.  row 1: d1 = 0 + 1 - 4 = -3; A0 = 3 - 1 = 2.
    assert torch.allclose(found, torch.tensor([[0.5, 2.0], [2.0, -3.0]]))


def explored(correlation, decisions=3, envs=4000):
    """Exploration noise (T, n d) of one rollout."""
    sizes = replace(SIZES, envs=envs, decisions=decisions)
    learner = learner_of(replace(SMALL, noise_correlation=correlation), sizes)
    with seeded("explored"):
        for _ in range(decisions):
            learner.act(PlainContext(torch.zeros(envs, 3)), torch.zeros(envs, 2))
    return learner.rollout["action"].flatten(1)  # mean 0, std 1: the noise itself


def test_exploration_may_hold_on_from_one_decision_to_the_next():
    """An AR(1) process: lag 1 correlates by rho, lag 2 by rho^2, and every decision alone is the actor's Gaussian."""
    noise = explored(0.8)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.02) and noise.std().item() == pytest.approx(1.0, abs=0.02)
    assert (noise[0] * noise[1]).mean().item() == pytest.approx(0.8, abs=0.03)
    assert (noise[0] * noise[2]).mean().item() == pytest.approx(0.64, abs=0.03)
    independent = explored(0.0)
    assert (independent[0] * independent[1]).mean().item() == pytest.approx(0.0, abs=0.03)
    with seeded("explored"):  # and draws what torch.normal does, bit by bit
        drawn = torch.normal(torch.zeros(4000, 4), torch.ones(4000, 4))
    assert torch.equal(independent[0], drawn.flatten())


def test_the_hinge_is_zero_inside_the_priors_typical_set():
    """E|w|^2 / d: 1 for the prior, (1 + 4) / 2 + 0.25 at the mean (1, 2) with std 0.5."""
    ones = torch.ones(3, 2)
    means = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 2.0]])
    assert hinge(means[:1], ones[:1]).tolist() == [0.0]
    assert hinge(means, 0.5 * ones).tolist() == pytest.approx([0.0, 0.0, 1.75])


def test_the_hinge_pulls_the_actor_back():
    learner = learner_of(penalties=[hinge_penalty(10.0)])
    with torch.no_grad():
        learner.actor.start_at(torch.full((4,), 3.0), 1.0)
    roll(learner, [[0.0, 0.0]] * 3)
    assert learner.update(torch.zeros(2, 2))["hinge"] == pytest.approx(9.0, rel=0.01)
    assert (learner.actor.mlp[-1].bias < 3.0).all() and (learner.actor.log_std < 0.0).all()
