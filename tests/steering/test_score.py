"""The whole loop on a toy: it starts as the base policy, learns, stays inside the latent, and resumes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from toys import ToyPolicy, ToyWorld

from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json_lines
from score_rl.core.runs import start_run
from score_rl.core.seeding import torch_generator
from score_rl.steering import loop as score
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.loop import steer
from score_rl.steering.plan import check_settings
from score_rl.steering.policy import BaseDecider, SteeredDecider, decision_noise, load_steering
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.start import StartConfig

CONFIG = SteerConfig(
    execute_steps=4, decisions=4, ppo=PPOConfig(learning_rate=3e-3, hidden=(32,), epochs=4, minibatches=2)
)
ENVS = 32
ITERATION = ENVS * 4 * 4


def run_of(path, config=CONFIG):
    return start_run(path, "steer", config, {"training": config.seed})


def test_it_learns_what_the_base_policy_does_not_know(tmp_path):
    policy, config = ToyPolicy(), CONFIG
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    run = run_of(tmp_path / "run")
    steering = steer(policy, [Stage(ToyWorld(ENVS), 14 * ITERATION)], config, run)
    records = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(records) == 14
    assert records[0]["success"] < 0.4  # the base policy wanders
    assert records[-1]["success"] > 0.9
    assert records[-1]["control_steps"] == 14 * ITERATION
    assert all(torch.equal(policy.state_dict()[name], value) for name, value in before.items())  # frozen
    assert run.finished
    assert policy.fingerprint() == steering.spec.base
    # A finished run gives back the same policy without another step.
    again = steer(policy, [Stage(ToyWorld(ENVS), 14 * ITERATION)], config, run_of(tmp_path / "run"))
    context = torch.randn(5, 6)
    assert torch.equal(again.actor.mean_std(context)[0], steering.actor.mean_std(context)[0])


@pytest.mark.parametrize("latent", [LatentConfig("full"), LatentConfig("subspace", 1), LatentConfig("subspace", 2)])
def test_iteration_zero_is_the_base_policy(tmp_path, latent):
    """Before the first update: the same noise gives the same actions as the base policy, bit by bit but rounding."""
    policy, config = ToyPolicy(), replace(CONFIG, latent=latent)
    session = score._Session(policy, [Stage(ToyWorld(4), 1)], config, run_of(tmp_path / "run", config), None)
    steered = SteeredDecider(policy, session.trained_policy(), deterministic=False)
    window = {"state": torch.randn(64, 2, 2), "command": torch.randn(64, 2, 1)}
    noise = decision_noise(range(64), 0, policy.spec.latent_shape)
    base, ours = BaseDecider(policy).decide(window, noise), steered.decide(window, noise)
    assert torch.allclose(ours.latent, base.latent, atol=1e-6)
    assert torch.allclose(ours.chunk, base.chunk, atol=1e-6)


@pytest.mark.parametrize("latent", [LatentConfig("full"), LatentConfig("subspace", 1)])
def test_iteration_zero_trains_on_the_base_policys_distribution(tmp_path, latent):
    """Success and latents of the first rollout are those of the base policy, within five standard errors."""
    policy, config = ToyPolicy(), replace(CONFIG, latent=latent)
    world = ToyWorld(512)
    session = score._Session(policy, [Stage(world, 1)], config, run_of(tmp_path / "run", config), None)
    record = session.iterate(0, session.stages[0])
    n = 512 * 4 * 4
    clamped_square = 0.9927  # E[clamp(x, -3, 3)^2] of a standard normal, less than 1 by the cut tails
    assert record["latent_square"] == pytest.approx(clamped_square, abs=0.001 + 5 * math.sqrt(2 / n))
    expected = base_success(policy)
    assert record["success"] == pytest.approx(
        expected, abs=5 * math.sqrt(expected * (1 - expected) * (1 / 512 + 1 / 2048))
    )


def base_success(policy, n=2048):
    """Success of the base policy in the toy world, from a loop that shares no code with steering."""
    world, generator = ToyWorld(n), torch_generator("base success")
    observation = world.reset(range(n))
    won, running = torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    for step in range(16):
        if step % 4 == 0:
            chunk = policy.decode(observation.actor["state"], torch.randn(n, 4, 1, generator=generator))
        result = world.step(chunk[:, step % 4])
        won |= running & result.success
        running &= ~result.done
        observation = result.observation
    return won.float().mean().item()


@pytest.mark.slow
def test_resume_is_bit_for_bit(tmp_path):
    stages = [(5 * ITERATION, "a"), (3 * ITERATION, "b")]

    def train(path, stop_at=None):
        run = run_of(path)

        def stop(index, record):
            if record["iteration"] == stop_at:
                raise KeyboardInterrupt

        run.add_listener(stop)
        return steer(ToyPolicy(), [Stage(ToyWorld(ENVS, name=name), steps) for steps, name in stages], CONFIG, run)

    straight = train(tmp_path / "straight")
    for stop_at in (0, 3, 5, 7):  # before any checkpoint, within a stage, in the second stage, in the last iteration
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", stop_at)
    resumed = train(tmp_path / "stopped")
    one, other = straight.actor.state_dict(), resumed.actor.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    logs = [read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("straight", "stopped")]
    timed = {"environment_s", "policy_s", "learner_s", "steps_per_second"}
    logs = [[{key: value for key, value in record.items() if key not in timed} for record in log] for log in logs]
    assert logs[0] == logs[1]
    assert [record["world"] for record in logs[0]] == ["a"] * 5 + ["b"] * 3
    files = [(tmp_path / name / "steering" / "steering.safetensors").read_bytes() for name in ("straight", "stopped")]
    assert files[0] == files[1]


def test_seeds_matter_and_repeat(tmp_path):
    def weights(name, seed):
        config = replace(CONFIG, seed=seed)
        world = ToyWorld(4)
        steering = steer(ToyPolicy(), [Stage(world, 1)], config, run_of(tmp_path / name, config))
        return steering.actor.state_dict()["mlp.0.weight"]

    assert torch.equal(weights("a", 1), weights("b", 1))
    assert not torch.equal(weights("c", 2), weights("d", 3))


def test_warm_start_from_another_steering_policy(tmp_path):
    policy = ToyPolicy()
    first = steer(policy, [Stage(ToyWorld(ENVS), 10 * ITERATION)], CONFIG, run_of(tmp_path / "first"))
    loaded = load_steering(tmp_path / "first" / "steering", policy)
    second = replace(CONFIG, seed=1)
    steer(policy, [Stage(ToyWorld(ENVS), 1)], second, run_of(tmp_path / "second", second), initial=loaded)
    (record,) = read_json_lines(tmp_path / "second" / "metrics.jsonl")
    assert record["success"] > 0.8
    narrow = replace(second, start=StartConfig(std=0.25), ppo=replace(CONFIG.ppo, learning_rate=1e-9))
    made = steer(policy, [Stage(ToyWorld(ENVS), 1)], narrow, run_of(tmp_path / "narrow", narrow), initial=loaded)
    assert torch.allclose(made.actor.log_std.exp(), torch.tensor(0.25))
    other = replace(CONFIG, seed=1, latent=LatentConfig("full"))
    with pytest.raises(ScoreError, match="cannot start from"):
        steer(policy, [Stage(ToyWorld(4), 1)], other, run_of(tmp_path / "third", other), initial=first)


def test_the_hinge_is_a_penalty_of_the_actor(tmp_path):
    config = replace(CONFIG, hinge_coefficient=0.5)
    steer(ToyPolicy(), [Stage(ToyWorld(4), 1)], config, run_of(tmp_path / "run", config))
    (record,) = read_json_lines(tmp_path / "run" / "metrics.jsonl")
    assert record["hinge"] >= 0.0


def test_budget_is_never_exceeded():
    stage = Stage(ToyWorld(ENVS), 3 * ITERATION + 1)
    assert stage.iterations(CONFIG) == 3
    assert Stage(ToyWorld(ENVS), 1).iterations(CONFIG) == 1


def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path):
    policy = ToyPolicy()
    cases = [
        ([], CONFIG, "at least one stage"),
        ([Stage(ToyWorld(4), 0)], CONFIG, "positive budget"),
        ([Stage(ToyWorld(4), 1)], replace(CONFIG, execute_steps=5), "1 to 4 can run, not 5"),
        ([Stage(ToyWorld(4), 1)], replace(CONFIG, decisions=0), "decisions"),
        ([Stage(ToyWorld(4), 1)], replace(CONFIG, latent=LatentConfig(modes=7)), "modes"),
        ([Stage(ToyWorld(4), 1)], replace(CONFIG, latent=LatentConfig(bound=math.inf)), "bound"),
        ([Stage(ToyWorld(4), 1)], replace(CONFIG, ppo=PPOConfig(hidden=())), "hidden"),
        ([Stage(ToyWorld(4), 1), Stage(ToyWorld(1), 1)], CONFIG, None),
        ([Stage(ToyWorld(4), 1), Stage(ToyWorld(1), 1)], replace(CONFIG, decisions=2), "2 decisions"),
    ]
    for index, (stages, config, message) in enumerate(cases):
        if message is None:
            check_settings(policy, stages, config)
            continue
        with pytest.raises(ScoreError, match=message):
            steer(policy, stages, config, run_of(tmp_path / str(index), config))


def test_rows_can_wait_only_where_the_world_shows_the_last_command():
    """Whether the policy reads it does not matter."""

    def shows(spec, *keys):
        observation = {key: spec.interface.observation[key] for key in keys}
        return replace(spec, interface=replace(spec.interface, observation=observation))

    policy, world, config = ToyPolicy(), ToyWorld(4), replace(CONFIG, between_decisions="hold")
    policy.spec = shows(policy.spec, "state")
    check_settings(policy, [Stage(world, 1)], config)
    world.spec = shows(world.spec, "state")
    with pytest.raises(ScoreError, match="toy does not show; use base"):
        check_settings(policy, [Stage(world, 1)], config)
    check_settings(policy, [Stage(world, 1)], CONFIG)


class BrokenWorld(ToyWorld):
    """Shows or pays NaN in row 2 from some control step on."""

    def __init__(self, what, step):
        super().__init__(ENVS)
        self.what, self.broken_from, self.steps = what, step, 0

    def step(self, action):
        result, self.steps = super().step(action), self.steps + 1
        if self.steps < self.broken_from:
            return result
        if self.what == "reward":
            result.reward[2] = math.nan
        else:
            getattr(result.observation, self.what[0])[self.what[1]][2] = math.inf
        return result


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("reward", "the reward"),
        (("actor", "state"), "observation 'state'"),
        (("critic", "truth"), "the critic's input"),
    ],
)
def test_numbers_that_are_not_finite_stop_the_run(tmp_path, what, name):
    """In the third iteration, so that the checkpoint of two stays; at once, and there is none."""
    steps = 4 * 4  # control steps per iteration
    for broken_from, kept in ((2 * steps + 3, "of 2 iterations"), (1, "no checkpoint yet")):
        run = run_of(tmp_path / str(broken_from))
        with pytest.raises(ScoreError, match=rf"{name} is not finite in environment\(s\) \[2\] of toy; .*{kept}"):
            steer(ToyPolicy(), [Stage(BrokenWorld(what, broken_from), 4 * ITERATION)], CONFIG, run)
        assert not run.finished
        assert len(run.metrics) == (broken_from - 1) // steps


def test_actions_that_are_not_finite_stop_the_run(tmp_path):
    policy = ToyPolicy()
    policy.strength.data.fill_(math.nan)
    with pytest.raises(ScoreError, match="the policy's action is not finite in environment"):
        steer(policy, [Stage(ToyWorld(ENVS), 1)], CONFIG, run_of(tmp_path / "run"))


def test_a_checkpoint_of_another_base_policy_is_refused(tmp_path):
    run = run_of(tmp_path / "run")
    run.add_listener(lambda index, record: (_ for _ in ()).throw(KeyboardInterrupt) if index == 1 else None)
    with pytest.raises(KeyboardInterrupt):
        steer(ToyPolicy(), [Stage(ToyWorld(4), 4 * 64)], CONFIG, run)
    other = ToyPolicy()
    other.strength.data.fill_(0.5)
    with pytest.raises(ScoreError, match="belongs to the base policy"):
        steer(other, [Stage(ToyWorld(4), 4 * 64)], CONFIG, run_of(tmp_path / "run"))


def test_a_checkpoint_of_other_ranks_is_refused(tmp_path):
    run = run_of(tmp_path / "run")
    run.add_listener(lambda index, record: (_ for _ in ()).throw(KeyboardInterrupt) if index == 1 else None)
    with pytest.raises(KeyboardInterrupt):
        steer(ToyPolicy(), [Stage(ToyWorld(4), 4 * 64)], CONFIG, run)
    tensors, metadata = load_tensors(run.path("checkpoint.safetensors"), "score_rl.steering_checkpoint")
    save_tensors(run.path("checkpoint.safetensors"), tensors, {**metadata, "ranks": 2})
    with pytest.raises(ScoreError, match="made by 2 rank"):
        steer(ToyPolicy(), [Stage(ToyWorld(4), 4 * 64)], CONFIG, run_of(tmp_path / "run"))
