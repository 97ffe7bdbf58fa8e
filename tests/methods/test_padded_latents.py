"""A base policy whose latents are of another shape than its chunks: every method steers it or says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import ScaledToyPolicy, ToyWorld

from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.evaluation.evaluate import evaluate
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.methods import METHODS
from score_rl.steering.ppo import PPOConfig

CONFIG = SteerConfig(execute_steps=4, decisions=4, ppo=PPOConfig(hidden=(8,), epochs=1, minibatches=2))
OPTIONS = {"best_of_n": {"n": 3, "base_iterations": 1}}


class Padded(ScaledToyPolicy):
    """Latents (6, 2) for chunks (4, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, latent_shape=(6, 2))

    def decode(self, context, latent):
        return super().decode(context, latent[:, :4, :1])


@pytest.mark.parametrize("method", ["score", "residual", "score_residual", "best_of_n"])
def test_it_is_steered_and_evaluated(tmp_path: Path, method: str) -> None:
    policy, run = Padded(), start_run(tmp_path, "steer", CONFIG, {})
    options = OPTIONS.get(method, {})
    trained = steer(policy, [Stage(ToyWorld(), 64)], CONFIG, run, method=METHODS[method], options=options)
    assert (trained.spec.latent_shape, trained.spec.chunk_shape) == ((6, 2), (4, 1))
    for decider in trained.deciders(policy).values():
        outcome = evaluate(ToyWorld(), decider, [1, 2, 3], 4, traced=1)
        assert outcome.trace["latent"].shape[2:] == (6, 2) and outcome.trace["first_chunk"].shape[1:] == (4, 1)


def test_free_shifts_need_latents_of_the_chunks_shape(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"needs latents of the same shape, not \(6, 2\)"):
        steer(
            Padded(), [Stage(ToyWorld(), 64)], CONFIG, start_run(tmp_path, "steer", CONFIG, {}),
            method=METHODS["unconstrained"],
        )  # fmt: skip


def test_independent_noise_covers_every_action() -> None:
    from score_rl.steering.methods.residual import independent

    noise = torch.randn(5, 2, 1)
    drawn = independent(noise, 7)  # more numbers than a latent has
    assert drawn.shape == (5, 7) and drawn.unique().numel() == 35
