"""Domains: draws of robots and episodes, files, and what a malformed file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from score_rl.core.errors import ScoreError
from score_rl.sim.domain import Domain, load_domain, parse_domain, save_domain, shipped_domains
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters


def draws(table: dict | Domain) -> Draws:
    domain = table if isinstance(table, Domain) else parse_domain(table)
    return Draws(domain, PARAMETERS)


def constant(value: object) -> dict:
    return {"distribution": "constant", "value": value}


def uniform(low: object, high: object) -> dict:
    return {"distribution": "uniform", "low": low, "high": high}


def normal(mean: object, sd: object) -> dict:
    return {"distribution": "normal", "mean": mean, "sd": sd}


BIASED = {
    "hand.joint_bias_rad": {"robot": normal(0.0, 0.04), "episode": normal(0.0, 0.01)},
    "object.friction": {"episode": uniform(0.4, 0.9)},
    "robot.delay_s": {"robot": uniform(0.02, 0.04)},
    "object.mass_scale": {"episode": constant(1.5)},
}


# ---- draws ---------------------------------------------------------------------------------------------------


def test_a_robot_is_its_seed() -> None:
    domain = draws(BIASED)
    first, again, other = domain.robot(1), domain.robot(1), domain.robot(2)
    assert set(first) == {"hand.joint_bias_rad", "robot.delay_s"}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first)


def test_what_is_drawn_for_a_robot_stays_and_what_is_drawn_for_an_episode_changes() -> None:
    domain = draws(BIASED)
    robot = domain.robot(1)
    values = domain.episodes(robot, range(200))
    assert set(values["robot.delay_s"][:, 0]) == {robot["robot.delay_s"][0]}
    assert set(values["cube.mass_scale"][:, 0]) == {1.5}
    friction, bias = values["cube.friction"][:, 0], values["hand.joint_bias_rad"]
    assert len(set(friction)) == 200 and 0.4 <= friction.min() < 0.42 and 0.88 < friction.max() <= 0.9
    # The episode's part is added to the robot's: mean of 200 draws of sd 0.01 within 4.5 standard errors.
    assert np.abs(bias.mean(0) - robot["hand.joint_bias_rad"]).max() < 4.5 * 0.01 / np.sqrt(200)
    assert bias.std(0).mean() == pytest.approx(0.01, rel=0.1)


def test_a_parameter_added_to_a_file_leaves_the_other_draws_alone() -> None:
    small, large = draws(BIASED), draws({"arm.gain_scale": {"robot": uniform(0.9, 1.1)}, **BIASED})
    jittery = draws({"object.size_scale": {"episode": uniform(0.9, 1.1)}, **BIASED})
    for other in (large, jittery):
        robot = small.robot(3)
        for name in robot:
            assert np.array_equal(robot[name], other.robot(3)[name])
        before, after = small.episodes(robot, [7]), other.episodes(other.robot(3), [7])
        for name in robot.keys() | {"cube.friction", "cube.mass_scale"}:
            assert np.array_equal(before[name], after[name])


def test_episodes_drawn_together_are_those_drawn_alone() -> None:
    domain = draws(BIASED)
    robot = domain.robot(0)
    together, alone = domain.episodes(robot, [4, 5, 6]), domain.episodes(robot, [5], ["cube.friction"])
    assert set(alone) == {"cube.friction"}
    assert np.array_equal(together["cube.friction"][1], alone["cube.friction"][0])


def test_nominal_values_where_a_domain_says_nothing() -> None:
    values = draws(Domain("empty")).episodes({}, [0, 1])
    assert {name: value.shape for name, value in values.items()} == {n: (2, p.size) for n, p in PARAMETERS.items()}
    assert all((values[name] == parameter.nominal).all() for name, parameter in PARAMETERS.items())


def test_draws_are_clipped_to_physical_bounds() -> None:
    wide = draws({"robot.delay_s": {"episode": normal(0.0, 1.0)}})
    values = wide.episodes({}, range(50))["robot.delay_s"]
    assert values.min() == 0.0 and values.max() == PARAMETERS["robot.delay_s"].high


def test_one_number_per_element() -> None:
    offsets = [0.01 * k for k in range(7)]
    domain = draws({"arm.joint_bias_rad": {"robot": constant(offsets)}})
    assert domain.robot(0)["arm.joint_bias_rad"].tolist() == offsets


def test_standard_scores_of_the_varying_parameters() -> None:
    domain = draws({**BIASED, "camera.yaw_bias_rad": {"robot": constant(0.1), "episode": normal(0.02, 0.04)}})
    robot = domain.robot(1)
    values = domain.episodes(robot, [0, 1])
    values["hand.joint_bias_rad"] = np.tile(robot["hand.joint_bias_rad"] + 0.02, (2, 1))
    values["cube.friction"][:], values["camera.yaw_bias_rad"][:] = 0.4, 0.1 + 0.02 - 0.04
    scores = domain.scores(robot, values)[1]
    # In the order of PARAMETERS: 7 arm offsets, then 16 of the hand, ...; what does not vary is 0.
    assert scores[:7].tolist() == [0] * 7 and scores[7:23] == pytest.approx([2.0] * 16)
    assert scores[scores != 0] == pytest.approx([2.0] * 16 + [-1.0, -1.0])
    assert (
        len(scores) == sum(parameter.size for parameter in PARAMETERS.values() if parameter.told) == PARAMETERS.told
    )


def test_every_domain_shows_the_critic_the_same_layout() -> None:
    for domain in map(draws, (Domain("empty"), load_domain("twin"), load_domain("proxy"))):
        assert domain.scores({}, domain.episodes({}, [0])).shape == (1, PARAMETERS.told)


# ---- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shipped_domains()))
def test_shipped_domains_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    domain = load_domain(name)
    save_domain(tmp_path / "copy.toml", domain, provenance={"made by": 'a "test"\nof two lines'})
    assert load_domain(tmp_path / "copy.toml") == domain
    assert parse_domain(domain.describe()) == domain


def test_the_proxy_in_another_engine_has_the_same_robots_and_objects() -> None:
    proxy, other = load_domain("proxy"), load_domain("proxy_physx")
    assert (other.robot, other.episode) == (proxy.robot, proxy.episode)
    assert other.physics.timestep_s == 0.005 and other.physics.engine == "physx"
    assert other.protective_stop == proxy.protective_stop and not other.physics.not_applied


def test_the_randomised_twin_draws_as_wide_as_robots_differ_in_every_episode() -> None:
    twin, proxy, drawn = (load_domain(name) for name in ("twin", "proxy", "twin_randomised"))
    assert not drawn.robot and drawn.physics == twin.physics and drawn.protective_stop == proxy.protective_stop
    assert {**proxy.episode, **proxy.robot, **drawn.episode} == {**proxy.episode, **proxy.robot}
    own = {"camera.cloud_shift_m", "camera.cloud_turn_rad"}  # the depth camera's errors of place, for clouds
    assert proxy.robot.keys() - drawn.episode.keys() - own == {"contact.time_constant_s", "hand.dry_friction_nm"}


def test_the_twin_off_centre_is_the_twin_but_for_centres_of_mass() -> None:
    twin, other = load_domain("twin"), load_domain("twin_off_centre")
    offset = {name: draw for name, draw in other.episode.items() if name not in twin.episode}
    assert list(offset) == ["object.com_offset_m"] and offset == {
        name: draw for name, draw in load_domain("proxy_rough").episode.items() if name in offset
    }
    assert replace(other, name="twin", episode=twin.episode) == twin
    assert {name: draw for name, draw in other.episode.items() if name in twin.episode} == dict(twin.episode)


def test_the_proxy_is_another_robot_and_the_twin_is_nominal() -> None:
    shipped = {"twin", "twin_off_centre", "twin_randomised", "proxy", "proxy_physx", "proxy_rough", "hardware"}
    assert set(shipped_domains()) == shipped
    twin, proxy = load_domain("twin"), load_domain("proxy")
    assert not twin.robot and twin.protective_stop.force_n == 0
    assert proxy.protective_stop.force_n == 30 and proxy.protective_stop.filter_s == 0.01
    assert proxy.physics.timestep_s <= 0.0025 and len(proxy.robot) >= 10


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"object.frictoin": {"episode": constant(0.5)}}, "did you mean 'object.friction'"),
        ({"object.friction": {"epsiode": constant(0.5)}}, "did you mean 'episode'"),
        ({"object.friction": {"episode": {"distribution": "gaussian", "mean": 1}}}, "unknown .*'gaussian'"),
        (
            {"object.friction": {"episode": {"distribution": "uniform", "low": 0.1}}},
            "takes low, high; got low",
        ),
        ({"object.friction": {"episode": 0.5}}, "must look like"),
        ({"object.friction": {}}, "must give a distribution"),
        ({"object.friction": {"episode": constant(99)}}, r"99 to 99 is outside \[0.05, 3\] \(sliding friction"),
        ({"object.friction": {"episode": uniform(0.9, 0.4)}}, "low = 0.9 is above high = 0.4"),
        ({"robot.delay_s": {"episode": uniform(-0.01, 0.02)}}, r"-0.01 to 0.02 is outside \[0, 0.09\]"),
        ({"robot.delay_s": {"robot": constant(0.05), "episode": constant(0.05)}}, "0.1 to 0.1 is outside"),
        ({"robot.delay_s": {"robot": normal(0.02, -1)}}, "sd = -1 must not be negative"),
        ({"robot.delay_s": {"robot": constant("slow")}}, "value = 'slow' must be 1 finite number"),
        ({"robot.delay_s": {"robot": constant(float("nan"))}}, "must be 1 finite number"),
        ({"robot.delay_s": {"robot": constant(True)}}, "must be 1 finite number"),
        ({"arm.joint_bias_rad": {"robot": constant([0.0] * 6)}}, "must be 1 or 7 finite numbers"),
        ({"physics": {"timestep": 0.01}}, "did you mean 'timestep_s'"),
        ({"physics": {"timestep_s": 0}}, r"timestep_s is 0, expected > 0 and <= 0.1"),
        ({"physics": {"mujoco": {"iterations": 2.5}}}, "iterations is 2.5, expected a whole number"),
        ({"physics": {"mujoco": {"integrator": "euler"}}}, "unknown integrator 'euler'.*implicitfast"),
        ({"physics": 3}, "is 3, expected a mapping"),
        ({"physics": {"mujoco": [1]}}, r"is \[1\], expected a record"),
        ({"physics": {"mujoco": {"impratio": 0}}}, "impratio is 0, expected > 0"),
        ({"physics": {"arm_torque_scale": 0}}, "arm_torque_scale is 0, expected > 0"),
        ({"physics": {"settings": {}}}, "unknown .*'settings'"),
        ({"physics": {"timestep_s": True}}, "timestep_s is True, expected a finite number"),
        ({"physics": {"engine": "physx", "physx": {"position_iterations": 256}}}, "is 256, expected 1 to 255"),
        ({"protective_stop": {"force_n": float("inf")}}, "force_n is inf, expected a finite number"),
        ({"physics": {"engine": "mujuco"}}, "unknown .* engine 'mujuco'; did you mean 'mujoco'"),
        ({"physics": {"iterations": 5}}, "unknown key 'iterations'"),
        ({"physics": {"not_applied": "all"}}, "not_applied is 'all', expected a list"),
        ({"plate": {"friction": {"episode": constant(0.5)}}}, "unknown parameter 'plate.friction'"),
        ({"protective_stop": {"force_n": -1}}, "force_n is -1, expected >= 0"),
        ({"protective_stop": {"force": 30}}, "did you mean 'force_n'"),
        ({"name": 3}, "name = 3 must be text"),
        ({"name": ["x"]}, "must be text"),
        ({"physics": {"engine": ["mujoco"]}}, r"engine is \['mujoco'\], expected text"),
        ({"robot.delay_s": {"robot": {"distribution": ["normal"]}}}, r"distribution is \['normal'\], expected text"),
    ],
)
def test_errors_name_the_value_and_the_choices(table: dict, message: str) -> None:
    with pytest.raises(ScoreError, match=message) as caught:
        parse_domain(table, "mine.toml", PARAMETERS)
    assert "mine.toml" in str(caught.value)


def test_levels_may_add_up_to_a_value_within_bounds() -> None:
    domain = draws({"robot.delay_s": {"robot": constant(0.03), "episode": uniform(-0.01, 0.01)}})
    values = domain.episodes(domain.robot(0), range(20))["robot.delay_s"]
    assert 0.02 <= values.min() < values.max() <= 0.04


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="does not exist"):
        load_domain(tmp_path / "missing.toml")
    with pytest.raises(ScoreError, match="did you mean 'proxy'"):
        load_domain("proxi")
    (tmp_path / "broken.toml").write_text("name = [")
    with pytest.raises(ScoreError, match="not valid TOML"):
        load_domain(tmp_path / "broken.toml")


def test_the_physics_step_must_divide_the_control_period() -> None:
    physics = parse_domain({"physics": {"timestep_s": 0.03}}).physics
    with pytest.raises(ScoreError, match="does not divide"):
        physics.substeps(10.0)
    assert load_domain("twin").physics.substeps(10.0) == 6
    assert load_domain("proxy").physics.substeps(10.0) == 40
