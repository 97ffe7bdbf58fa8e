"""Delay, lag and play, worked out by hand for one joint and physics steps of 10 ms."""

from __future__ import annotations

import numpy as np
import pytest

from score_rl.sim.actuation import Actuation


def one_joint(substeps: int = 5, delay_s: float = 0, lag_s: float = 0, backlash_rad: float = 0) -> Actuation:
    actuation = Actuation(num_envs=1, num_joints=1, substeps=substeps, timestep_s=0.01)
    actuation.delay_s[:], actuation.lag_s[:], actuation.backlash_rad[:] = delay_s, lag_s, backlash_rad
    actuation.reset(np.array([0]), np.zeros((1, 1)))
    return actuation


def send(actuation: Actuation, command: float) -> list[float]:
    return actuation.targets(np.array([[command]]))[0, :, 0].tolist()


def test_an_ideal_servo_gets_the_command_at_once() -> None:
    assert send(one_joint(), 1.0) == [1.0] * 5


def test_delay_of_whole_steps_shows_the_old_command_first() -> None:
    actuation = one_joint(delay_s=0.02)
    assert send(actuation, 1.0) == pytest.approx([0, 0, 1, 1, 1])
    assert send(actuation, 3.0) == pytest.approx([1, 1, 3, 3, 3])


def test_delay_within_a_step_counts_in_proportion() -> None:
    # Arrives 15 ms after the command: the second step (10 to 20 ms) has it for half of its time.
    assert send(one_joint(delay_s=0.015), 1.0) == pytest.approx([0, 0.5, 1, 1, 1])


def test_lag_is_exponential_and_goes_on_in_the_next_control_step() -> None:
    actuation = one_joint(substeps=2, lag_s=0.02)
    per_step = np.exp(-0.5)
    assert send(actuation, 1.0) == pytest.approx([1 - per_step, 1 - per_step**2])
    assert send(actuation, 1.0) == pytest.approx([1 - per_step**3, 1 - per_step**4])


def test_delay_comes_before_lag() -> None:
    assert send(one_joint(substeps=2, delay_s=0.01, lag_s=0.02), 1.0) == pytest.approx([0, 1 - np.exp(-0.5)])


def test_play_moves_only_when_pushed() -> None:
    actuation = one_joint(substeps=1, backlash_rad=0.2)
    # Half the play is lost in each direction; between the flanks nothing moves.
    commands = [0.05, 1.0, 0.95, 0.85, 0.5, 0.65, 0.8]
    expected = [0.0, 0.9, 0.9, 0.9, 0.6, 0.6, 0.7]
    assert [send(actuation, command)[0] for command in commands] == pytest.approx(expected)


def test_a_late_command_is_late_once() -> None:
    actuation = one_joint(delay_s=0.01)
    assert actuation.targets(np.ones((1, 1)), late_s=np.array([0.02]))[0, :, 0] == pytest.approx([0, 0, 0, 1, 1])
    assert send(actuation, 2.0) == pytest.approx([1, 2, 2, 2, 2])


def test_a_gear_train_yields_to_its_load_and_lets_go_of_it_late() -> None:
    actuation = one_joint(substeps=2)
    actuation.compliance_rad_nm[:], actuation.hysteresis_nm[:] = 0.1, 0.05
    # 0.1 rad/N m of what is carried, which stays within 0.05 N m of the servo's torque.
    torques = [0.03, 0.25, 0.22, 0.10, -0.20]
    carried = [0.0, 0.20, 0.20, 0.15, -0.15]
    for torque, held in zip(torques, carried):
        targets = actuation.targets(np.ones((1, 1)), torque_nm=np.full((1, 1), torque))
        assert targets[0, :, 0] == pytest.approx([1 - 0.1 * held] * 2)
    actuation.reset(np.array([0]), np.ones((1, 1)))
    assert send(actuation, 1.0) == [1.0, 1.0]


def test_reset_settles_the_given_rows_only() -> None:
    actuation = Actuation(num_envs=2, num_joints=1, substeps=1, timestep_s=0.01)
    actuation.delay_s[:], actuation.lag_s[:], actuation.backlash_rad[:] = 0.01, 0.02, 0.1
    actuation.targets(np.ones((2, 1)))
    actuation.reset(np.array([1]), np.full((1, 1), 5.0))
    held = actuation.targets(np.array([[1.0], [5.0]]))
    assert held[1, 0, 0] == 5.0
    assert held[0, 0, 0] != 1.0  # still on its way


def test_a_row_does_not_depend_on_what_other_rows_have() -> None:
    alone, together = Actuation(1, 1, 6, 1 / 60), Actuation(2, 1, 6, 1 / 60)
    together.delay_s[1], together.lag_s[1], together.backlash_rad[1] = 0.031, 0.02, 0.05
    generator = np.random.default_rng(0)
    for _ in range(20):
        command = generator.normal(size=(1, 1))
        assert np.array_equal(alone.targets(command)[0], together.targets(np.repeat(command, 2, 0))[0])
