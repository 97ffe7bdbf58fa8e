"""Hand-over: every candidate is inside the support, and the one that goes on best is run."""

from __future__ import annotations

import pytest
import torch
from toys import ToyPolicy

from score_rl.core.errors import ScoreError
from score_rl.steering.config import SteerConfig
from score_rl.steering.handover import HandOver, nearest
from score_rl.steering.heads import more_noise
from score_rl.steering.latent import LatentConfig
from score_rl.steering.method import SCORE
from score_rl.steering.plan import steering_spec
from score_rl.steering.policy import blank_policy, decision_noise

WINDOW = {"state": torch.randn(5, 2, 2), "command": torch.randn(5, 2, 1)}
NOISE = decision_noise(range(5), 0, (4, 1))


def steering(latent: LatentConfig, mean: float = 2.0, options: dict | None = None):
    """A steering whose mean is the same in every state."""
    policy = ToyPolicy()
    made = blank_policy(
        policy, steering_spec(policy, SteerConfig(execute_steps=4, latent=latent), SCORE, options), SCORE
    )
    made.actor.start_at(torch.full((made.head.dim,), mean), 1.0)
    return made


def test_the_nearest_is_over_the_overlap_and_in_the_given_scale():
    """One row, two chunks of three actions in two dimensions; the running chunk has two actions left."""
    one = [[0.0, 0.0], [0.0, 0.0], [9.0, 9.0]]
    other = [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    chunks, running = torch.tensor([[one, other]]), torch.tensor([[[0.4, 5.0], [0.4, 5.0]]])
    one_unit = torch.ones(1, 2)
    assert nearest(chunks, running, one_unit).tolist() == [0]  # 0.16 against 0.36; the third action is not read
    assert nearest(chunks, running + torch.tensor([0.2, 0.0]), one_unit).tolist() == [1]
    assert nearest(chunks, torch.tensor([[[0.4, 0.0]]]), torch.tensor([[0.1, 1.0]])).tolist() == [0]
    assert nearest(torch.cat((chunks, chunks), dim=1), running, one_unit).tolist() == [0]  # the first of equals


def test_without_a_running_chunk_it_is_the_steerings_own_decision():
    made = steering(LatentConfig("subspace", 1))
    own = made.deciders(ToyPolicy())["score_det"].decide(WINDOW, NOISE)
    for running in (None, torch.zeros(5, 0, 1)):
        decided = HandOver(ToyPolicy(), made, 8).decide(WINDOW, NOISE, running)
        assert torch.equal(decided.latent, own.latent) and torch.equal(decided.chunk, own.chunk)
    base = HandOver(ToyPolicy(), None, 8).decide(WINDOW, NOISE, None)
    assert torch.equal(base.latent, NOISE.clamp(-3, 3))


def test_what_steering_chose_stays_and_the_rest_is_the_nearest_draw():
    """The toy's chunk is 1 + 0.05 z where z's mean is positive: going on from a chunk of its own picks like noise."""
    made = steering(LatentConfig("subspace", 1))
    handing, target = HandOver(ToyPolicy(), made, 16), more_noise(NOISE, 15)[:, 6]
    running = ToyPolicy().decode(None, made.head.latent(torch.full((5, 1), 2.0), target))
    decided = handing.decide(WINDOW, NOISE, running)
    assert torch.allclose(decided.chunk, running)  # draw 6 itself is the nearest
    assert torch.allclose(made.head.map.coordinates(decided.latent), torch.full((5, 1), 2.0), atol=1e-5)
    assert torch.equal(decided.chunk, ToyPolicy().decode(None, decided.latent))
    few = HandOver(ToyPolicy(), made, 2).decide(WINDOW, NOISE, running)
    apart = [(chunk[:, :2] - running[:, :2]).abs().mean() for chunk in (decided.chunk, few.chunk)]
    assert apart[0] < apart[1]
    again = handing.decide({key: value[2:4] for key, value in WINDOW.items()}, NOISE[2:4], running[2:4])
    assert torch.equal(again.latent, decided.latent[2:4])  # who else is in the batch does not matter


class TwoActions(ToyPolicy):
    """The first action spreads as far as the state says, the second by 1, in the opposite order of time."""

    def decode(self, context, latent):
        return torch.cat((latent * context.features[:, :1, None], latent.flip(1)), dim=2)


def test_the_scale_of_a_row_is_its_own():
    """Rows spread 0.01 to 100 times as far; each is handed over as it would be alone, as on a robot."""
    window = {"state": torch.zeros(5, 2, 2), "command": torch.zeros(5, 2, 1)}
    window["state"][:, 0, 0] = torch.tensor([0.01, 0.1, 1.0, 10.0, 100.0])
    handing, running = HandOver(TwoActions(), None, 16), torch.ones(5, 4, 2) * torch.tensor([0.0, 1.0])
    together = handing.decide(window, NOISE, running).latent
    for row in range(5):
        alone = {key: value[row : row + 1] for key, value in window.items()}
        one = handing.decide(alone, NOISE[row : row + 1], running[row : row + 1]).latent
        assert torch.equal(one[0], together[row])


def test_what_leaves_nothing_to_draw_is_refused():
    with pytest.raises(ScoreError, match="fixes the whole latent"):
        HandOver(ToyPolicy(), steering(LatentConfig("full")), 8)
    with pytest.raises(ScoreError, match="fixes the whole latent"):
        HandOver(ToyPolicy(), steering(LatentConfig("subspace", 1), options={"complement": [[0.0]] * 4}), 8)
    with pytest.raises(ScoreError, match="at least 2 latents, got 1"):
        HandOver(ToyPolicy(), None, 1)
