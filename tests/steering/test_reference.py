"""SCORE does not end below z = 0 or the ticket that it began at, and says while it runs what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import ToyPolicy, ToyWorld

from score_rl.core.runs import start_run
from score_rl.report.stages import reference_lines
from score_rl.steering.advice import MOST_KL, Adviser, advice
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import steer
from score_rl.steering.methods import METHODS
from score_rl.steering.plan import steering_spec
from score_rl.steering.policy import decision_noise, load_steering
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.reference import batches, constant, constants, deployed, zero_success
from score_rl.steering.ticket import TicketPolicy

ENVS, ROLLOUT = 16, 16 * 16
LEFT = -torch.ones(4, 1)
"""A latent that goes left wherever it is decoded."""
CONFIG = SteerConfig(
    execute_steps=4,
    decisions=4,
    ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), epochs=4, minibatches=2),
    reference_share=0.5,
)


class RightWorld(ToyWorld):
    """The goal is always on the right, where z = 0 always goes."""

    goal_at = 1.0

    def _begin(self, row: int) -> None:
        super()._begin(row)
        self.goal[row] = self.goal_at


class LeftWorld(RightWorld):
    goal_at = -1.0


def run_of(path, config=CONFIG, stop_at=None):
    run = start_run(path, "steer", config, {"training": config.seed})

    def stop(index, record):
        if record["iteration"] == stop_at:
            raise KeyboardInterrupt

    run.add_listener(stop)
    return run


def decided(policy):
    """What a policy's mean decides in six states."""
    window = {"state": torch.randn(6, 2, 2), "command": torch.randn(6, 2, 1)}
    return policy.deciders(ToyPolicy())["score_det"].decide(window, decision_noise(range(6), 0, (4, 1)))


def learn(path, world, config=CONFIG, rollouts=4, **how):
    run = run_of(path, config, how.pop("stop_at", None))
    return steer(ToyPolicy(), [Stage(world(ENVS), rollouts * ROLLOUT)], config, run, **how), run


@pytest.mark.parametrize("latent", [LatentConfig("full"), LatentConfig("subspace", 1, complement="noise")])
def test_it_returns_to_z_zero_where_it_ends_below(tmp_path, latent):
    """Started at a latent that always goes left and hardly learning, it is left with z = 0, which always succeeds."""
    config = replace(CONFIG, latent=latent, ppo=replace(CONFIG.ppo, learning_rate=1e-9))
    start = constant(ToyPolicy(), steering_spec(ToyPolicy(), config), LEFT)
    made, run = learn(tmp_path / "run", RightWorld, config, initial=start)
    assert run.summary["reference"]["success"] == {"score_det": 0.0, "base_z0": 1.0}
    assert run.summary["deployed"] == "base_z0"
    assert run.summary["reference"]["episodes"] == 2 * ENVS  # half of 4 roll-outs
    assert run.summary["reference"]["control_steps"] == 2 * 2 * ROLLOUT
    assert run.summary["control_steps"] == 4 * ROLLOUT  # what was compared is no part of the budget
    assert list(run.summary["advice"]) == ["below_z0"]
    loaded = load_steering(tmp_path / "run" / "steering", ToyPolicy())
    for policy in (made, loaded):
        assert torch.equal(decided(policy).latent, torch.zeros(6, 4, 1))
    assert list(reference_lines(run.summary)) == [
        "  in toy, 32 episodes: score_det 0 %, base_z0 100 %",
        "  steering ended below base_z0, so this constant latent is what the run leaves",
    ]


def test_what_is_no_worse_stays_and_is_the_same_to_the_bit(tmp_path):
    start = constant(ToyPolicy(), steering_spec(ToyPolicy(), CONFIG), LEFT)
    made, run = learn(tmp_path / "compared", LeftWorld, initial=start)
    assert run.summary["deployed"] == "score_det"
    assert run.summary["reference"]["success"] == {"score_det": 1.0, "base_z0": 0.0}
    plain, alone = learn(tmp_path / "alone", LeftWorld, replace(CONFIG, reference_share=0.0), initial=start)
    assert "reference" not in alone.summary and not list(reference_lines(alone.summary))
    one, other = made.actor.state_dict(), plain.actor.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_run_remembers_what_it_is_compared_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", LeftWorld, stop_at=2)
    _, resumed = learn(tmp_path / "stopped", LeftWorld)
    _, straight = learn(tmp_path / "straight", LeftWorld)
    assert resumed.summary["reference"] == straight.summary["reference"]
    left, other = (tmp_path / name / "steering" / "steering.json" for name in ("stopped", "straight"))
    assert left.read_bytes() == other.read_bytes()


def test_it_returns_to_the_ticket_that_it_began_at():
    """The ticket goes left, where the goal is; z = 0 and what was learned never get there."""
    policy, stage = ToyPolicy(), Stage(LeftWorld(ENVS), 8 * ROLLOUT)
    ticket = TicketPolicy(steering_spec(policy, CONFIG, METHODS["base_ticket"], {"candidates": 4}))
    ticket.actor.latent.fill_(-1.0)
    known = constants(policy, stage, CONFIG, ticket)
    assert known["reference"]["success"] == {"base_z0": 0.0, "base_ticket": 1.0}
    learned = constant(policy, steering_spec(policy, CONFIG), -LEFT)
    made, figures = deployed(policy, learned, stage, CONFIG, known, ticket)
    assert figures["deployed"] == "base_ticket"
    assert torch.equal(decided(made).latent, LEFT.expand(6, 4, 1))


def test_the_share_of_the_budget_is_kept():
    """One roll-out of 16 environments takes 256 control steps; 256 episodes are 16 of them."""
    world = ToyWorld(ENVS)
    counts = [batches(Stage(world, steps), CONFIG) for steps in (2 * ROLLOUT - 1, 2 * ROLLOUT, 1000 * ROLLOUT)]
    assert counts == [0, 1, 16]


def test_what_cannot_be_compared_is_said(tmp_path):
    said = []
    _, run = learn(tmp_path / "dear", RightWorld, replace(CONFIG, reference_share=0.2), notify=said.append)
    assert "reference" not in run.summary
    assert said[0].startswith("  not compared with z = 0")
    assert "one roll-out takes 256 control steps, more than 0.2 of 1024;" in said[0]
    said.clear()
    learn(tmp_path / "asked", RightWorld, replace(CONFIG, reference_share=0.0), notify=said.append)
    learn(tmp_path / "compared", RightWorld, notify=said.append)
    assert not any("not compared" in line for line in said)


def test_a_run_with_too_large_steps_says_so_and_a_healthy_one_does_not(tmp_path):
    """As it runs: the same run with steps of 3e-3 and of 1."""
    for name, rate, kinds in (("healthy", 3e-3, set()), ("large", 1.0, {"steps"})):
        said = []
        config = replace(CONFIG, reference_share=0.0, ppo=replace(CONFIG.ppo, learning_rate=rate))
        _, run = learn(tmp_path / name, ToyWorld, config, notify=said.append)
        assert set(run.summary.get("advice", {})) == kinds
        records = list(run.metrics.read())
        kl = sum(record["kl"] for record in records[-4:]) / 4
        assert (kl > MOST_KL) == bool(kinds), kl
        assert len(said) == len(kinds) and all("the learner's steps are too large" in line for line in said)


def test_a_constant_policy_decides_its_latent_in_every_mode():
    latent = torch.tensor([[0.5], [-0.25], [0.0], [1.0]])
    for kind in (LatentConfig("full"), LatentConfig("subspace", 2)):
        made = constant(ToyPolicy(), steering_spec(ToyPolicy(), replace(CONFIG, latent=kind)), latent)
        assert torch.allclose(decided(made).latent, latent.expand(6, 4, 1), atol=1e-6)


def records(kl=0.1, success=0.5, count=4, stage=0):
    return [{"iteration": i, "stage": stage, "kl": kl, "success": 1.0, "success_end": success} for i in range(count)]


def test_advice_has_two_sides():
    ppo = PPOConfig(learning_rate=3e-3)
    assert advice(records(kl=2.9), 0.5, ppo, 0.5) == {}
    assert advice(records(kl=9.0, success=0.1)[:3], 0.5, ppo, 0.5) == {}  # too few
    assert set(advice(records(kl=3.1), 0.5, ppo, None)) == {"steps"}
    assert "--learner.ppo.learning-rate 0.001," in advice(records(kl=3.1), 0.5, ppo, None)["steps"]
    assert set(advice(records(success=0.24), 0.5, ppo, 0.5)) == {"below_z0"}
    assert advice(records(success=0.26), 0.5, ppo, 0.5) == {}  # half of z = 0 is enough while exploring
    assert advice(records(success=0.24), 0.45, ppo, 0.5) == {}  # it begins as the base policy
    learner_without_ratios = [{"iteration": i, "stage": 0, "success_end": 0.5} for i in range(4)]
    assert advice(learner_without_ratios, 0.5, ppo, None) == {}


def test_z_zero_is_compared_with_whole_episodes_of_its_own_world():
    """Episodes have 16 steps: 4 decisions of 4 cover them, 3 count every later success as a failure."""
    first, last = Stage(ToyWorld(ENVS), ROLLOUT), Stage(ToyWorld(ENVS), ROLLOUT)
    known = {"reference": {"success": {"base_z0": 0.7}}}
    assert zero_success(known, last, CONFIG, [first, last]) == 0.7
    assert zero_success(known, first, CONFIG, [first, last]) is None
    assert zero_success(known, last, replace(CONFIG, decisions=3), [first, last]) is None
    assert zero_success({}, last, CONFIG, [first, last]) is None


def test_an_adviser_says_each_thing_once_and_forgets_the_stage_before():
    lines, said = [], {}
    adviser = Adviser(PPOConfig(), 10, lines.append)
    for record in records(kl=4.0, count=6):
        adviser.hear(record, None, said)
    assert len(lines) == 1 and lines[0].startswith("  iteration 3: the learner's steps are too large: KL 4.00")
    assert list(said) == ["steps"]
    resumed, again = Adviser(PPOConfig(), 10, lines.append, records(kl=4.0)[:3]), {}
    resumed.hear(records(kl=4.0)[3], None, again)
    assert again == said and len(lines) == 2  # at the same iteration as the run that was not stopped
    adviser = Adviser(PPOConfig(), 10, lines.append)
    for record in [*records(kl=4.0, count=2), *records(kl=4.0, count=2, stage=1)]:
        adviser.hear(record, None, {})
    assert len(lines) == 2
