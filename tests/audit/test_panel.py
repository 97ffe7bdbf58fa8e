"""The panel: every parameter is in it, sizes are physical, and a variation differs in one thing only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from score_rl.core.errors import ScoreError
from score_rl.evaluation.audit.panel import (
    JOINT,
    NOMINAL,
    PHYSICS_STEP,
    Mismatch,
    finer,
    joint,
    mismatches,
    panel,
    single,
    vary,
)
from score_rl.sim.domain import Distribution, Domain, Physics, parse_domain
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters
PANEL = mismatches(PARAMETERS, clouds=True)
ROUGH = {
    "robot.delay_jitter_s",
    "arm.encoder_error_rad",
    "arm.encoder_phase_rad",
    "hand.encoder_error_rad",
    "hand.encoder_phase_rad",
    "hand.compliance_rad_nm",
    "hand.hysteresis_nm",
    "hand.tip_radius_scale",
    "object.com_offset_m",
    "object.face_friction_scale",
}
"""What no audit varies: effects of rough robots, which have no unit there."""
BY_NAME = {mismatch.parameter: mismatch for mismatch in PANEL}
TWIN = parse_domain(
    {
        "name": "t",
        "robot.delay_s": {"robot": {"distribution": "constant", "value": 0.03}},
        "hand.gain_scale": {
            "robot": {"distribution": "constant", "value": 0.9},
            "episode": {"distribution": "normal", "mean": 0.0, "sd": 0.08},
        },
        "object.friction": {"episode": {"distribution": "uniform", "low": 0.4, "high": 0.8}},
        "camera.yaw_bias_rad": {"robot": {"distribution": "normal", "mean": 0.01, "sd": 0.02}},
    }
)


def drawn(domain: Domain, name: str) -> np.ndarray:
    """The parameter in one episode."""
    draws, (own,) = Draws(domain, PARAMETERS), PARAMETERS.members(name) or (name,)
    return draws.episodes(draws.robot(0), [5])[own][0]


def test_every_parameter_of_a_domain_is_in_the_panel() -> None:
    assert set(BY_NAME) == {*PARAMETERS.general, PHYSICS_STEP} - ROUGH
    assert set(PARAMETERS.general) >= ROUGH


def test_what_is_added_is_added_at_the_robot_level() -> None:
    more = vary(TWIN, BY_NAME["robot.delay_s"], np.array([2.0]))  # 30 ms + 2 x 10 ms
    assert drawn(more, "robot.delay_s") == pytest.approx(0.05)
    assert drawn(vary(TWIN, BY_NAME["robot.lag_s"], np.array([1.0])), "robot.lag_s") == pytest.approx(
        0.01
    )  # nominal 0
    yaw = vary(TWIN, BY_NAME["camera.yaw_bias_rad"], np.array([-1.0])).robot["camera.yaw_bias_rad"]
    assert yaw.arguments == ((0.0,), (0.02,))  # the mean moves, the spread stays


def test_a_factor_scales_all_levels() -> None:
    mismatch = Mismatch("hand.gain_scale", "factor", 0.5)
    stiffer, weaker = vary(TWIN, mismatch, np.array([2.0])), vary(TWIN, mismatch, np.array([-1.0]))
    assert stiffer.robot["hand.gain_scale"].arguments[0][0] == pytest.approx(0.9 * 2.25)
    assert stiffer.episode["hand.gain_scale"].arguments[1][0] == pytest.approx(0.08 * 2.25)
    assert weaker.robot["hand.gain_scale"].arguments[0][0] == pytest.approx(0.6)
    friction = vary(TWIN, Mismatch("object.friction", "factor", 1.0), np.array([1.0]))
    assert friction.episode["object.friction"].arguments == ((0.8,), (1.6,))
    assert "object.friction" not in friction.robot
    heavier = vary(
        TWIN, Mismatch("object.mass_scale", "factor", 0.25, nominal=1.0), np.array([1.0])
    )  # said nowhere: nominal 1
    assert drawn(heavier, "object.mass_scale") == pytest.approx(1.25)


def test_what_is_drawn_per_episode_only_gets_no_nominal_value_added() -> None:
    twin = replace(TWIN, episode={"camera.position_jitter_m": Distribution("constant", ((0.001,),))})
    more = vary(twin, BY_NAME["camera.position_jitter_m"], np.array([1.0]))
    assert drawn(more, "camera.position_jitter_m") == pytest.approx(0.003)


@pytest.mark.parametrize("mismatch", PANEL, ids=lambda m: m.parameter)
def test_a_single_mismatch_leaves_everything_else_alone(mismatch: Mismatch) -> None:
    for variation in single(TWIN, mismatch, (1.0, 4.0), 2):
        for domain in variation.robots:
            for name in set(PARAMETERS.general) - {mismatch.parameter}:
                np.testing.assert_array_equal(drawn(domain, name), drawn(TWIN, name))
            if mismatch.parameter == PHYSICS_STEP:
                assert domain.physics.timestep_s < TWIN.physics.timestep_s
            else:
                assert domain.physics == TWIN.physics
                assert (drawn(domain, mismatch.parameter) != drawn(TWIN, mismatch.parameter)).all()


def test_sizes_of_a_virtual_robot_lie_on_one_line() -> None:
    one, four = single(TWIN, BY_NAME["hand.joint_bias_rad"], (1.0, 4.0), 3)
    assert len(one.robots) == 3
    for small, large in zip(one.robots, four.robots):
        np.testing.assert_allclose(drawn(large, "hand.joint_bias_rad"), 4 * drawn(small, "hand.joint_bias_rad"))
    biases = [drawn(robot, "hand.joint_bias_rad") for robot in one.robots]
    assert not np.allclose(biases[0], biases[1])


def test_the_physics_step_divides_the_control_period() -> None:
    assert finer(Physics(), 2).timestep_s == pytest.approx(1 / 120)
    assert finer(Physics(), 1.5).substeps(10.0) == 9
    assert finer(Physics(), 100).timestep_s == pytest.approx(1 / 600)


def test_sizes_in_words() -> None:
    assert BY_NAME["robot.delay_s"].text(2) == "+20 ms"
    assert BY_NAME["table.height_m"].text(-0.5) == "-1 mm"
    assert BY_NAME["hand.joint_bias_rad"].text(2) == "sd 30 mrad"
    assert BY_NAME["hand.dry_friction_nm"].text(1) == "+10 mN m"
    assert Mismatch("object.friction", "factor", 0.25).text(-1) == "x 0.8"
    assert BY_NAME[PHYSICS_STEP].text(1) == "step / 2"


def test_the_joint_panel_changes_everything_and_grows_with_its_size() -> None:
    small, large = joint(TWIN, PANEL, 0.5, 1), joint(TWIN, PANEL, 1.0, 1)
    for name in set(PARAMETERS.general) - ROUGH:
        assert (drawn(large, name) != drawn(TWIN, name)).any(), name
    added = drawn(small, "robot.delay_s") - 0.03, drawn(large, "robot.delay_s") - 0.03
    assert added[1] == pytest.approx(2 * added[0])


def test_the_panel_and_its_parts() -> None:
    cells = panel(TWIN, PANEL, (1.0, 2.0), 4)
    assert cells[0].mismatch == NOMINAL and cells[0].robots == (TWIN,)
    assert [cell.size for cell in cells if cell.mismatch == JOINT] == [1.0, 2.0]
    assert [len(cell.robots) for cell in cells if cell.mismatch == "camera.position_bias_m"] == [2, 2]
    some = panel(TWIN, PANEL, (1.0,), 4, only=("table.height_m",))
    assert [(cell.mismatch, cell.direction) for cell in some] == [
        (NOMINAL, ""),
        ("table.height_m", "higher"),
        ("table.height_m", "lower"),
    ]
    with pytest.raises(ScoreError, match=r"unknown mismatch 'delay'; did you mean 'robot.delay_s'"):
        panel(TWIN, PANEL, (1.0,), 4, only=("delay",))


def test_errors_of_clouds_are_asked_of_policies_that_see_them() -> None:
    poses = {mismatch.parameter for mismatch in mismatches(PARAMETERS)}
    assert poses == {name for name in BY_NAME if name == PHYSICS_STEP or PARAMETERS.general[name].told}
    assert BY_NAME["camera.dropout_share"].text(2) == "+20 %"


def test_sizes_end_at_what_makes_physical_sense() -> None:
    """0.5 N m x 1.2^8 would be 2.15, where 2 is the most; drawn per episode by +-0.1 around it."""
    torque = {
        "robot": {"distribution": "constant", "value": 0.5},
        "episode": {"distribution": "uniform", "low": -0.1, "high": 0.1},
    }
    twin = parse_domain({"name": "t", "hand.torque_limit_nm": torque})
    stronger = vary(twin, BY_NAME["hand.torque_limit_nm"], np.array([8.0]))
    wide = 0.1 * 1.2**8
    assert stronger.robot["hand.torque_limit_nm"].arguments == ((pytest.approx(2 - wide),),)
    assert stronger.episode["hand.torque_limit_nm"].arguments == ((pytest.approx(-wide),), (pytest.approx(wide),))
    for cell in panel(TWIN, PANEL, (8.0, 50.0), 4):
        for robot in cell.robots:
            robot.resolved(PARAMETERS)  # raises where a value is out of bounds
