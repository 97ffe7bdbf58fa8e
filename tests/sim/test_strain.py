"""Forces, torque limits and joint stops of a control step, worked out by hand and seen in the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from score_rl.contracts import PolicySpec
from score_rl.core.chunks import ChunkRunner
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.domain import parse_domain
from score_rl.sim.strain import Strain
from score_rl.sim.world import make_world

JOINTS = len(FRANKA_LEAP.joint_names)
HOME = np.array(FRANKA_LEAP.home)


def strain(timestep_s: float = 0.0025) -> tuple[Strain, list[str]]:
    world = make_world("pinch_cube", "twin", 1)
    return Strain(world.engine.links, FRANKA_LEAP, timestep_s), list(world.engine.links)


def test_figures_by_hand() -> None:
    measure, names = strain()
    force = np.zeros((2, 4, len(names)))
    force[0, 1, names.index("thumb_distal")] = 20.0
    force[0, 2:, names.index("hand")] = 35.0
    force[1] = 15.0  # at the threshold is not above it
    torque, limit = np.zeros((2, 4, JOINTS)), np.ones((2, JOINTS))
    torque[0, 0, :3], torque[0, 1, 5], torque[1, 3, 7] = -1.0, 0.995, 0.98
    joints = np.tile(HOME, (2, 1))
    joints[1, 8] = FRANKA_LEAP.joint_upper[8] - 0.009
    joints[1, 9] = FRANKA_LEAP.joint_lower[9] - 0.001
    joints[1, 10] = FRANKA_LEAP.joint_upper[10] - 0.02
    info = {name: value.tolist() for name, value in measure.info(force, torque, limit, joints).items()}
    assert info["peak_fingertip_force_n"] == [20, 15]
    assert info["impulse_ns"] == pytest.approx([(5 + 2 * 20) * 0.0025, 0])
    assert info["torque_limit_share"] == pytest.approx([4 / (4 * JOINTS), 0])
    assert info["joint_limit_share"] == pytest.approx([0, 2 / JOINTS])


def test_pressing_on_the_table_strains_the_hand_and_holding_still_does_not() -> None:
    world = make_world("pinch_cube", parse_domain({"physics": {"timestep_s": 0.0025}}), 2)
    interface = replace(world.spec.interface, observation={"state": world.spec.interface.observation["state"]})
    spec = PolicySpec(interface, history=1, horizon=8, latent_shape=(8, JOINTS))
    runner = ChunkRunner(world, spec, 8, filler=lambda window: torch.zeros(len(window["state"]), 8, JOINTS))
    runner.start([0, 1])
    target = torch.tensor(HOME, dtype=torch.float32).repeat(2, 8, 1)
    target[1, :, 1] += 0.8
    for _ in range(2):
        info = runner.execute(target).info
    assert info["impulse_ns"][1] > 1 > info["impulse_ns"][0] == 0
    assert info["peak_force_n"][1] > 15 > 1 > info["peak_force_n"][0]
    assert (info["peak_fingertip_force_n"] <= info["peak_force_n"]).all()
    assert info["torque_limit_share"][1] > info["torque_limit_share"][0] == 0
    assert 0 == info["joint_limit_share"][0] <= info["joint_limit_share"][1] < 1


def test_the_torque_limit_is_the_domains() -> None:
    weak = parse_domain({"hand.torque_limit_nm": {"robot": {"distribution": "constant", "value": 0.05}}})
    world = make_world("pinch_cube", weak, 1)
    world.reset([0])
    assert world._torque_limit[0].tolist() == pytest.approx([*FRANKA_LEAP.effort[:7], *[0.05] * 16])
    target = torch.tensor([FRANKA_LEAP.home]) + torch.tensor([[0.0] * 7 + [0.5] * 16])
    # 3 N m / rad over 0.5 rad is far above 0.05 N m: all hand joints at once, none of the arm's.
    assert float(world.step(target).info["torque_limit_share"]) == pytest.approx(16 / 23)
