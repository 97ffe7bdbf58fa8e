"""Where steering starts: cloned latents of demonstrations or of another policy's successes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import LearnableToyPolicy, ScaledToyPolicy, ToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.flow import Inversion
from score_rl.core.records import read_json
from score_rl.core.runs import start_run
from score_rl.data.windows import WindowBatch
from score_rl.steering import loop
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS
from score_rl.steering.policy import BaseDecider, SteeredDecider
from score_rl.steering.ppo import GaussianActor, PPOConfig
from score_rl.steering.start import StartConfig, clone, reversed_latents, successes

CONFIG = SteerConfig(
    execute_steps=4,
    decisions=4,
    latent=LatentConfig("full"),
    ppo=PPOConfig(hidden=(32,), minibatches=2),
    start=StartConfig(reversal="inverse", reach=3.0, steps=400, batch=64, learning_rate=1e-2, episodes=16),
)

INVERSE = CONFIG.start


class InvertibleToyPolicy(ToyPolicy):
    """Chunk = direction + 0.05 z; latents far from the direction's sign have no chunk."""

    def invert(self, context, chunk, tolerance=1e-5, max_iterations=500):
        direction = torch.where(chunk.mean(dim=1, keepdim=True) >= 0, 1.0, -1.0)
        latent = (chunk - direction) / 0.05
        residual = (self.decode(context, latent) - chunk).abs().flatten(1).amax(dim=1)
        return Inversion(latent, residual, torch.zeros(len(chunk)), residual <= tolerance)


def examples(directions, offset=0.1):
    """Chunks in the given directions, where the state's second entry is the direction."""
    direction = torch.tensor(directions)
    state = torch.stack((torch.zeros(len(direction)), direction), dim=1).unsqueeze(1).expand(-1, 2, -1)
    window = {"state": state, "command": torch.zeros(len(direction), 2, 1)}
    chunk = (direction * (1 + offset)).view(-1, 1, 1).expand(-1, 4, 1)
    return WindowBatch(window, chunk, torch.zeros(len(direction), 4, dtype=torch.bool))


def test_latents_are_those_that_the_base_policy_decodes_the_chunks_from():
    policy, given = InvertibleToyPolicy(), examples([1.0, -1.0, 1.0])
    given.is_pad[2, 3] = True  # behind the end of an episode
    context, latent = reversed_latents(policy, given, INVERSE, 3.0, 0)
    assert torch.allclose(latent[:, :, 0], torch.tensor([[2.0] * 4, [-2.0] * 4]), atol=1e-4)
    assert torch.allclose(policy.decode(context, latent), given.action[:2])


def test_what_the_inversion_does_not_reach_is_left_out():
    policy, given = InvertibleToyPolicy(), examples([1.0, -1.0, 1.0, -1.0], offset=-0.1)
    with pytest.raises(ScoreError, match="none of 4 chunks could be inverted"):
        reversed_latents(policy, given, INVERSE, 3.0, 0)  # latents of the other sign
    with pytest.raises(ScoreError, match="no flow to reverse"):
        reversed_latents(ToyPolicy(), given, INVERSE, 3.0, 0)
    _, latent = reversed_latents(policy, examples([1.0] * 9), replace(INVERSE, examples=3), 1.5, 0)
    assert latent.shape == (3, 4, 1) and torch.equal(latent, torch.full((3, 4, 1), 1.5))


def test_the_nearest_draw_is_one_of_the_priors_and_goes_the_same_way():
    policy, given = ScaledToyPolicy(), examples([1.0, -1.0] * 20)
    _, latent = reversed_latents(policy, given, replace(INVERSE, reversal="nearest", samples=200), 3.0, seed=1)
    assert latent.shape == (40, 4, 1) and latent.abs().max() <= 3.0
    assert torch.equal(latent.mean(dim=1)[:, 0].sign(), given.action[:, 0, 0].sign())
    drawn = policy.decode(policy.encode(given.observation), latent)
    few = reversed_latents(policy, given, replace(INVERSE, reversal="nearest", samples=1), 3.0, seed=1)[1]
    one = policy.decode(policy.encode(given.observation), few)
    nearer = [(chunk - given.action).flatten(1).norm(dim=1) for chunk in (drawn, one)]
    assert (nearer[0] <= nearer[1] + 1e-6).all() and nearer[0].mean() < 0.25 < nearer[1].mean()
    with pytest.raises(ScoreError, match="has no `normalize`"):
        reversed_latents(ToyPolicy(), given, replace(INVERSE, reversal="nearest"), 3.0, 0)
    given.is_pad[:] = True
    with pytest.raises(ScoreError, match="no whole chunk"):
        reversed_latents(policy, given, replace(INVERSE, reversal="nearest"), 3.0, 0)


def test_cloning_fits_the_mean():
    policy, given = InvertibleToyPolicy(), examples([1.0, -1.0] * 20)
    reversal = reversed_latents(policy, given, INVERSE, 3.0, 0)
    actor = GaussianActor(6, 1, (32,), "elu")
    figures = clone(actor, LatentMap(LatentConfig("subspace", 1), (4, 1)), *reversal, CONFIG.start, seed=0)
    assert figures["start_examples"] == 40
    assert figures["start_square"] == pytest.approx(
        9.0
    )  # the mode of a constant 2 is 2 sqrt(4), cut to the reach of 3
    assert figures["start_error"] < 0.01
    assert torch.allclose(actor.mean_std(reversal[0])[1], torch.ones(1))


def learn(path, config=CONFIG, policy=None, method="score", options=None, **given):
    run = start_run(path, "steer", config, {"training": 0})
    stages = [Stage(ToyWorld(16), 16 * 16)]
    return steer(
        policy or InvertibleToyPolicy(), stages, config, run, method=METHODS[method], options=options, **given
    )


def test_iteration_zero_does_as_the_cloned_demonstrations(tmp_path):
    policy = InvertibleToyPolicy()
    run = start_run(tmp_path / "run", "steer", CONFIG, {"training": 0})
    given = examples([1.0, -1.0] * 20)
    session = loop._Session(policy, [Stage(ToyWorld(16), 1)], CONFIG, run, None, examples=given)
    session.prepare()
    decided = SteeredDecider(policy, session.trained_policy()).decide(given.observation, torch.zeros(40, 4, 1))
    assert torch.allclose(decided.chunk, given.action, atol=0.03)
    record = session.iterate(0, session.stages[0])
    assert record["success"] > 0.4  # the base policy: below 0.4; sampled around 2 in every state


def test_the_successes_of_a_policy_are_found_with_what_they_took(tmp_path):
    class Knows(BaseDecider):
        """Goes where the goal is."""

        def decide(self, window, noise):
            latent = window["state"][:, -1:, 1:].expand(-1, 4, 1)
            decision = super().decide(window, noise)
            return replace(decision, chunk=self.policy.decode(None, latent), latent=latent)

    policy = InvertibleToyPolicy()
    found, spent = successes(ToyWorld(8), Knows(policy), 4, episodes=16, seed=0)
    assert spent == 2 * 8 * 12  # two batches; every episode succeeds within 12 steps
    assert len(found.action) == 16 * 3
    assert torch.equal(found.action.sign()[:, 0, 0], found.observation["state"][:, -1, 1])
    with pytest.raises(ScoreError, match="succeeds in none of 8 episodes"):
        successes(ToyWorld(8, time_limit=3), Knows(policy), 3, episodes=8, seed=0)


def test_start_from_a_best_of_n_clones_its_successes(tmp_path):
    class Scaled(InvertibleToyPolicy):
        def normalize(self, context, chunk):
            return chunk

        def denormalize(self, context, x):
            return x

    options = {"n": 4, "base_iterations": 1, "memory": 2, "epochs": 2}
    searching = learn(tmp_path / "best", policy=Scaled(), method="best_of_n", options=options)
    learn(tmp_path / "run", policy=Scaled(), initial=searching)
    summary = read_json(tmp_path / "run" / "run.json")["summary"]
    assert summary["start_examples"] > 0
    assert summary["control_steps"] == 16 * 16 + summary["start_control_steps"]


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ({"std": 0.0}, {}, "start.std is 0.0, expected > 0"),
        ({"demonstrations": 1.5}, {}, "demonstrations is 1.5, expected 0 to 1"),
        ({"reversal": "nearby"}, {}, "nearest"),
        ({"std": 0.5}, {"method": "fpo"}, "fpo cannot start from std 0.5"),
        ({}, {"method": "fpo", "examples": examples([1.0])}, "fpo cannot start from cloned latents"),
        ({"std": 0.5}, {"method": "base_ticket"}, "base_ticket cannot start from std 0.5"),
    ],
)
def test_what_cannot_be_started_from_is_refused(tmp_path, change, given, message):
    config = replace(CONFIG, start=replace(CONFIG.start, **change))
    options = {"fpo": {"draws": 1}, "base_ticket": {"candidates": 2}}.get(given.get("method"))
    with pytest.raises(ScoreError, match=message):
        learn(tmp_path / "run", config, policy=LearnableToyPolicy(), options=options, **given)


def test_a_ticket_of_another_base_policy_is_refused(tmp_path):
    ticket = learn(tmp_path / "ticket", policy=LearnableToyPolicy(), method="base_ticket", options={"candidates": 2})
    with pytest.raises(ScoreError, match="cannot start from another base policy's"):
        learn(tmp_path / "run", initial=ticket)
    with pytest.raises(ScoreError, match="either a policy or demonstrations"):
        learn(tmp_path / "both", policy=LearnableToyPolicy(), initial=ticket, examples=examples([1.0]))
