"""Pick Credit Card: draw a thin card over a block's edge, take it and hold it up (paper: table of tasks).

Block, spawn, horizon, success region and sparse rewards are the paper's. Ours are: the card has a credit card's
length and width and is 2 mm thick, with square corners; it lies flat near the block's edge on the robot's left (+y),
its long side across that edge, somewhat turned; the block is heavy and smooth, so that a card slides on it under
fingers that stick to the card.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.state import SceneState
from score_rl.sim.task import Task, TaskObject, rise_m

CARD_M = np.array([0.054, 0.0856, 0.002])
"""Width, length, thickness."""
CARD_MASS_KG = 0.008
BLOCK_M = np.array([0.10, 0.12, 0.10])
BLOCK_MASS_KG = 3.0
BLOCK_FRICTION = 0.35
"""Rules wherever something touches the block."""
SPAWN_CENTRE_M = np.array([0.55, -0.20])
SPAWN_LOW_M, SPAWN_HIGH_M = np.array([-0.05, -0.03]), np.array([0.10, 0.03])
"""Of the block."""
INSET_M = 0.015
"""How far from the block's edge the card's near end lies at most."""
ASIDE_M, TURNED_RAD = 0.02, 0.15
"""How far at most the card lies from the block's middle along the edge, and how far it is turned."""
GOAL_M = np.array([0.55, 0.0, 0.35])
GOAL_RADIUS_M = 0.15


def add_objects(spec: mujoco.MjSpec) -> None:
    """One free card on a free block; x along the edge, y across it, z up in both."""
    block = spec.worldbody.add_body(name="block", pos=[*SPAWN_CENTRE_M, BLOCK_M[2] / 2])
    block.add_freejoint(name="block")
    solid = {"contype": OBJECT, "conaffinity": HAND | OBJECT, "type": mujoco.mjtGeom.mjGEOM_BOX}
    block.add_geom(
        name="block",
        size=BLOCK_M / 2,
        mass=BLOCK_MASS_KG,
        friction=[BLOCK_FRICTION, 0.005, 0.0001],
        priority=2,
        rgba=[0.45, 0.50, 0.55, 1],
        **solid,
    )
    card = spec.worldbody.add_body(name="card", pos=[*SPAWN_CENTRE_M, BLOCK_M[2] + CARD_M[2] / 2])
    card.add_freejoint(name="card")
    card.add_geom(name="card", size=CARD_M / 2, mass=CARD_MASS_KG, condim=4, rgba=[0.85, 0.70, 0.25, 1], **solid)


def spawn(generator: np.random.Generator, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Block at (0.55, -0.20) + x [-0.05, 0.10], y +-0.03 m; the card on it, up to 15 mm behind its edge."""
    xy = SPAWN_CENTRE_M + generator.uniform(SPAWN_LOW_M, SPAWN_HIGH_M)
    inset, aside = generator.uniform(0, INSET_M), generator.uniform(-ASIDE_M, ASIDE_M)
    yaw = generator.uniform(-TURNED_RAD, TURNED_RAD)
    height, size = BLOCK_M[2] * parameters["block.size_scale"][0], parameters["card.size_scale"][0]
    edge = BLOCK_M[1] / 2 * parameters["block.size_scale"][0]
    card = [xy[0] + aside, xy[1] + edge - inset - CARD_M[1] / 2 * size, height + CARD_M[2] / 2 * size]
    return {
        "block": np.array([*xy, height / 2, 1, 0, 0, 0]),
        "card": np.array([*card, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]),
    }


def success(state: SceneState) -> np.ndarray:
    """(n,) the card's centre is within 0.15 m of (0.55, 0, 0.35)."""
    return np.linalg.norm(state.body("card").position - GOAL_M, axis=1) <= GOAL_RADIUS_M


TASK = Task(
    name="pick_card",
    description="draw a thin card over the edge of a block, take it and hold it up",
    horizon=128,
    hold_steps=5,
    robot=FRANKA_LEAP,
    objects=(TaskObject("card"), TaskObject("block", varies=("mass_scale", "size_scale"))),
    add_objects=add_objects,
    spawn=spawn,
    success=success,
    milestones={
        "lifted": (1.0, lambda state: rise_m(state, "card") >= 0.06),
        "raised": (5.0, lambda state: rise_m(state, "card") >= 0.10),
    },
    success_reward=10.0,
    timestep_s=1 / 120,
)
