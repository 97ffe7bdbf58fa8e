"""Pick Credit Card: spawn range, a card that stays where it lies, success region and milestones at their edges."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from task_states import state

from score_rl.sim.task import get_task
from score_rl.sim.world import make_world
from score_rl.tasks.pick_card.task import BLOCK_M, CARD_M

CARD = get_task("pick_card")
START = (0.55, -0.19, 0.101)


def parameters(block: float = 1.0, card: float = 1.0) -> dict[str, np.ndarray]:
    """Factors on the sizes."""
    return {"block.size_scale": np.array([block]), "card.size_scale": np.array([card])}


def test_spawn_covers_the_papers_range() -> None:
    generator = np.random.default_rng(0)
    spawned = [CARD.spawn(generator, parameters()) for _ in range(2000)]
    blocks = np.array([one["block"] for one in spawned])
    assert blocks[:, :2].min(0) == pytest.approx([0.50, -0.23], abs=2e-3)
    assert blocks[:, :2].max(0) == pytest.approx([0.65, -0.17], abs=2e-3)
    assert (blocks[:, 2:] == [0.05, 1, 0, 0, 0]).all()


def test_the_card_lies_on_the_block_behind_its_edge() -> None:
    generator = np.random.default_rng(1)
    spawned = [CARD.spawn(generator, parameters()) for _ in range(2000)]
    offset = np.array([one["card"][:3] - one["block"][:3] for one in spawned])
    inset = BLOCK_M[1] / 2 - (offset[:, 1] + CARD_M[1] / 2)
    assert inset.min() == pytest.approx(0, abs=1e-4) and inset.max() == pytest.approx(0.015, abs=1e-4)
    assert np.abs(offset[:, 0]).max() == pytest.approx(0.02, abs=1e-4)
    assert offset[:, 2] == pytest.approx(0.051)
    yaw = 2 * np.array([one["card"][6] for one in spawned])  # small angles
    assert np.abs(yaw).max() == pytest.approx(0.15, abs=2e-3)


def test_a_larger_block_and_a_thicker_card_lie_higher() -> None:
    spawned = CARD.spawn(np.random.default_rng(0), parameters(block=1.2, card=1.5))
    assert spawned["block"][2] == pytest.approx(0.06) and spawned["card"][2] == pytest.approx(0.1215)


def test_the_card_is_a_credit_cards_size_and_the_block_is_smooth() -> None:
    spec = mujoco.MjSpec()
    CARD.add_objects(spec)
    model = spec.compile()
    assert 2 * model.geom("card").size == pytest.approx([0.054, 0.0856, 0.002])
    assert model.body("card").mass == pytest.approx(0.008) and model.body("block").mass == pytest.approx(3.0)
    assert model.geom("block").friction[0] == pytest.approx(0.35)
    assert model.geom("block").priority > model.geom("card").priority


def test_untouched_it_stays_still() -> None:
    world = make_world("pick_card", "twin", num_envs=2)
    world.reset([0, 1])
    before = [world.state.body(name).position.copy() for name in ("card", "block")]
    world.engine.batch.step(nstep=1200)  # ten seconds
    moved = [np.abs(world.state.body(name).position - was).max() for name, was in zip(("card", "block"), before)]
    world.close()
    assert max(moved) < 1e-3


def test_success_within_15_cm_of_the_goal() -> None:
    inside = [[0.55, 0, 0.35], [0.55 + 0.149, 0, 0.35], [0.55, -0.149, 0.35], [0.55, 0, 0.201]]
    outside = [[0.55 + 0.151, 0, 0.35], [0.55, -0.151, 0.35], [0.55, 0, 0.199], list(START)]
    assert CARD.success(state("card", inside + outside, START)).tolist() == [True] * 4 + [False] * 4


def test_milestones_count_from_where_the_card_lay() -> None:
    rises = [0.0, 0.059, 0.061, 0.099, 0.101, 0.6]
    reached = state("card", [[0.5, 0.1, 0.101 + rise] for rise in rises], START)
    found = {name: (amount, condition(reached).tolist()) for name, (amount, condition) in CARD.milestones.items()}
    assert found["lifted"] == (1.0, [False, False, True, True, True, True])
    assert found["raised"] == (5.0, [False, False, False, False, True, True])
    assert CARD.success_reward == 10.0 and CARD.horizon == 128
