"""The real-to-sim step: fit the twin to one robot from its demonstrations alone.

Joint offsets, play, gains, lag and delay come from replaying the contact-free beginnings of the demonstrations
(`joints.py`), the error of the object's pose from the objects that lie and are held (`camera.py`), sensor jitter
from both. Where the demonstrations hold point clouds of the hand, these tell the camera's place and the table's
height instead (`clouds.py`), so that poses need not be there. What the demonstrations cannot tell keeps what the twin
says, or its prior (`sim.parameters.Prior`), and the result names it. The uncertainty of every estimate becomes the
width of its distribution in the calibrated twin: steering then meets every robot that the demonstrations could have
come from.

`mujoco.sysid` is not used: it fits fields of a MuJoCo model to the response to given controls, whereas delay, lag
and play stand in front of the model, and one replay of all episodes and candidates side by side gives all
derivatives at once, in whichever engine the twin names.

The fit replays at a fine physics step, at which the estimates are the robot's own. The twin's steps are as long as
the time constants in question, which shifts its response, and dry friction in sixteen joints would make it slow;
so lag, delay and play are then fitted once more at the twin's own step, with everything else held, and the twin
gets these `effective` values: play that stands for play and friction (width + 2 friction / gain), lag and delay that
make up for the steps.

Not identifiable here: torque limits and contact properties, which show in contact only, where forces are unknown.
Delay and lag are known better as their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from score_rl.core.checkpoints import save_tensors
from score_rl.core.files import to_plain, write_json
from score_rl.core.runs import Run
from score_rl.data.dataset import Dataset
from score_rl.real2sim.camera import CameraFit, fit_camera
from score_rl.real2sim.clouds import CloudFit, fit_clouds
from score_rl.real2sim.estimates import Comparison, Estimate, Estimates, Known
from score_rl.real2sim.joints import DYNAMICS, OFFSETS, Belief, Fit, ReplayFunction, belief, fit_joints
from score_rl.real2sim.replay import Array, Replay, Segments, Values, contact_free, require_features
from score_rl.real2sim.settings import DEFAULT, DOMAIN_FILE, ESTIMATES_FILE, REPLAY_FILE, CalibrateConfig
from score_rl.sim.domain import Distribution, Domain, Physics, save_domain
from score_rl.sim.parameters import Parameter, Parameters, Prior
from score_rl.sim.task import Task

FORMAT_VERSION = 1
EFFECTIVE = ("robot.lag_s", "robot.delay_s", "hand.backlash_rad")
"""Parameters whose best value in the twin depends on its physics step."""
POSE_JITTER = ("camera.position_jitter_m", "camera.rotation_jitter_rad")
"""Noise of estimated poses, of position and of rotation."""
PLACE = ("camera.position_bias_m", "camera.yaw_bias_rad", "camera.cloud_turn_rad", "table.height_m")
"""Where camera and table are."""


@dataclass(frozen=True)
class Calibration:
    """Everything that `score calibrate` found out."""

    domain: Domain
    """The calibrated twin: estimates at the level robot, uncertainty at the level episode."""
    estimates: Mapping[str, Estimate]
    """The robot, {parameter: estimate}."""
    effective: Mapping[str, tuple[float, ...]]
    """Values that the twin has instead, because of its long physics steps (see the module's docstring)."""
    lag_plus_delay_s: tuple[float, float]
    """Sum and its standard deviation: better known than either."""
    comparison: Comparison
    used: Mapping[str, int]
    """How many episodes (or frames) gave each kind of evidence."""
    trajectories: Mapping[str, Array]
    """See `REPLAY_FILE`."""
    joint_names: tuple[str, ...]
    not_estimated: Mapping[str, str]
    """What the demonstrations cannot tell, {parameter: why, and what the twin has}."""

    def summary(self) -> dict[str, Any]:
        """Everything but domain and trajectories, as plain data."""
        lag_plus_delay_s = Known(*self.lag_plus_delay_s)
        return to_plain(
            Estimates(
                FORMAT_VERSION,
                self.estimates,
                self.effective,
                lag_plus_delay_s,
                self.comparison,
                self.used,
                self.joint_names,
                self.not_estimated,
            )
        )

    def save(self, directory: Path, provenance: Mapping[str, str] | None = None) -> None:
        """Write `DOMAIN_FILE`, `ESTIMATES_FILE` and `REPLAY_FILE`."""
        save_domain(directory / DOMAIN_FILE, self.domain, provenance)
        write_json(directory / ESTIMATES_FILE, self.summary())
        tensors = {name: torch.from_numpy(array) for name, array in self.trajectories.items()}
        save_tensors(directory / REPLAY_FILE, tensors, {"kind": "replay", "joint_names": list(self.joint_names)})


def calibrate(
    dataset: Dataset,
    task: Task,
    twin: Domain,
    config: CalibrateConfig = DEFAULT,
    run: Run | None = None,
) -> Calibration:
    """Fit a twin to the robot that recorded the demonstrations.

    Needs the features state, command, palm_pose and fingertip_pos at 10 Hz, and object_pose or cloud. With `run`, the
    results are written into its directory and the run is finished.
    Raises ScoreError where features are missing, of other dimensions, another rate or not finite, or where no
    episode begins free of contact.
    """
    robot, parameters = task.robot, task.parameters
    twin_physics = task.physics(twin.physics)
    require_features(dataset, robot)
    near = config.object_distance_m, config.table_clearance_m
    segments = contact_free(dataset, *near, config.min_frames, config.max_frames, len(task.observed))
    fitted, judged = _split(segments, config.fit_episodes)
    nominal = centre(twin, parameters)

    # Arms without torque limits: a saturated one may chatter, and its path would jump with every parameter.
    fine = replace(twin, physics=_fine(twin_physics, config.timestep_s))
    coarse = replace(twin, physics=replace(twin_physics, arm_torque_scale=100.0))

    def make_replay(domain: Domain, pieces: Segments, candidates: int) -> ReplayFunction:
        return Replay(task, domain, pieces, candidates, config.threads).run

    priors = {name: belief(parameters[name]) for name in (*OFFSETS, *DYNAMICS)}
    fit = fit_joints(fitted, nominal, priors, partial(make_replay, fine))
    beliefs, held = _effective_problem(fit, nominal, task)
    effective = fit_joints(fitted, held, beliefs, partial(make_replay, coarse))
    offset = np.concatenate([fit.values(name) for name in OFFSETS])
    handled = next(iter(task.observed.values())).name
    rest_height = float(task.spawn(np.random.default_rng(0), nominal)[handled][2])
    camera = fit_camera(dataset, robot, parameters, offset, rest_height, config.touching_m)
    clouds = fit_clouds(dataset, task, parameters, offset)
    unknown = _unknown(camera, clouds)
    estimates = {
        **_joint_estimates(fit, parameters),
        **(_camera_estimates(camera, parameters) if camera is not None else {}),
        **(_cloud_estimates(clouds, twin, parameters) if clouds is not None else {}),
        **_from_priors(unknown, twin, parameters),
    }
    instead = {name: tuple(effective.values(name).tolist()) for name in EFFECTIVE}
    instead["hand.dry_friction_nm"] = tuple(nominal["hand.dry_friction_nm"].tolist())
    held_out = judged is not None
    judged = judged if judged is not None else fitted
    values = {**{name: estimate.value for name, estimate in estimates.items()}, **instead}
    calibrated = {**nominal, **{name: np.array(value) for name, value in values.items()}}
    before, after = _predictions(make_replay(twin, judged, 2), [nominal, calibrated])
    jitter = {"robot.joint_jitter_rad": _joint_jitter(fit, fitted.valid)}
    if camera is not None:
        jitter |= dict(zip(POSE_JITTER, (camera.position_jitter_m, camera.rotation_jitter_rad)))
    result = Calibration(
        domain=calibrated_domain(
            _with_stop(twin, config), parameters, estimates, instead, jitter, config.width_scale
        ),
        estimates=estimates,
        effective=instead,
        lag_plus_delay_s=_sum_of_delays(fit, parameters),
        comparison=_compare(judged, before, after, robot.arm_dof, held_out),
        used=_used(fitted, segments, camera, clouds),
        trajectories=_trajectories(judged, before, after, config.plot_episodes),
        joint_names=robot.joint_names,
        not_estimated={
            name: f"{why}; {'its prior' if name in estimates else f'as in {twin.name}'}"
            for name, why in unknown.items()
        },
    )
    if run is not None:
        run.own(DOMAIN_FILE, ESTIMATES_FILE, REPLAY_FILE)
        result.save(run.directory, {"robot": dataset.robot_type, "episodes": str(dataset.num_episodes)})
        run.finish(result.summary()["replay"])
    return result


def calibrated_domain(
    twin: Domain,
    parameters: Parameters,
    estimates: Mapping[str, Estimate],
    effective: Mapping[str, tuple[float, ...]],
    jitter: Mapping[str, float],
    width_scale: float = 1.0,
) -> Domain:
    """The twin with estimates (`effective` values first) at the level robot, their uncertainty at the level episode.

    What else the twin randomises (objects) is kept; sensor jitter is replaced by the measured one.
    """
    robot, episode = dict(twin.robot), dict(twin.episode)
    for name, estimate in estimates.items():
        if name == "hand.dry_friction_nm":  # stays the twin's own; the effective play stands for it
            continue
        robot[name] = Distribution("constant", (effective.get(name, estimate.value),))
        width = tuple(width_scale * sd for sd in estimate.sd)
        episode[name] = Distribution("normal", ((0.0,), width))
    for name, value in jitter.items():
        robot.pop(name, None)
        parameter = parameters[name]
        episode[name] = Distribution("constant", ((float(np.clip(value, parameter.low, parameter.high)),),))
    return replace(twin, name=f"{twin.name}_calibrated", robot=robot, episode=episode)


def _with_stop(twin: Domain, config: CalibrateConfig) -> Domain:
    stop = twin.protective_stop
    return replace(twin, protective_stop=replace(stop, force_n=config.protective_stop_n or stop.force_n))


def _fine(physics: Physics, timestep_s: float) -> Physics:
    """The engine's default settings at a fine step."""
    return Physics(physics.engine, timestep_s, arm_torque_scale=100.0, settings=type(physics.settings)())


def centre(domain: Domain, parameters: Parameters) -> dict[str, Array]:
    """The parameters in the middle of a domain, {name: (size,)}: means, or nominal where it says nothing."""
    domain, values = domain.resolved(parameters), {}
    for name, parameter in parameters.items():
        parts = [level[name] for level in (domain.robot, domain.episode) if name in level]
        means = [np.mean([np.broadcast_to(x, parameter.size) for x in _ends(part)], axis=0) for part in parts]
        value = np.sum(means, axis=0) if means else np.full(parameter.size, float(parameter.nominal))
        values[name] = np.clip(value, parameter.low, parameter.high)
    return values


def _ends(distribution: Distribution) -> list[tuple[float, ...]]:
    """Numbers whose mean is the distribution's."""
    return list(distribution.arguments) if distribution.kind == "uniform" else [distribution.arguments[0]]


def _split(segments: Segments, fit_episodes: int) -> tuple[Segments, Segments | None]:
    """Episodes for the fit and episodes to judge it; None where all are needed."""
    count = len(segments.start)
    spare = min(count // 4, max(count - fit_episodes, 0)) if count <= 2 * fit_episodes else fit_episodes
    order = np.arange(count)
    if not spare:
        chosen = order if count <= fit_episodes else order[np.linspace(0, count - 1, fit_episodes).astype(int)]
        return segments.subset(chosen), None
    judged = np.linspace(1, count - 1, spare).astype(int)
    others = np.setdiff1d(order, judged)
    chosen = others[np.unique(np.linspace(0, len(others) - 1, min(fit_episodes, len(others))).astype(int))]
    return segments.subset(chosen), segments.subset(judged)


def _effective_problem(fit: Fit, nominal: Values, task: Task) -> tuple[dict[str, Belief], dict[str, Array]]:
    """What is fitted at the twin's own step, from where, and all that is held there."""
    robot, parameters = task.robot, task.parameters
    gain = np.array(robot.kp[robot.arm_dof :]) * fit.values("hand.gain_scale")
    friction = fit.values("hand.dry_friction_nm") - nominal["hand.dry_friction_nm"]
    beliefs = {
        name: belief(parameters[name], fit.values(name)) for name in (*OFFSETS, "robot.lag_s", "robot.delay_s")
    }
    play = fit.values("hand.backlash_rad") + np.maximum(2 * friction / gain, 0)
    beliefs["hand.backlash_rad"] = belief(parameters["hand.backlash_rad"], play)
    held = {name: fit.values(name) for name in DYNAMICS if name not in (*EFFECTIVE, "hand.dry_friction_nm")}
    return beliefs, {**nominal, **held}


def _unknown(camera: CameraFit | None, clouds: CloudFit | None) -> dict[str, str]:
    """What nothing was learnt about, {parameter: why}."""
    unknown = {"hand.torque_limit_nm": "shows in contact only"}
    if camera is None:
        unknown |= dict.fromkeys(POSE_JITTER, "needs poses of objects")
    if camera is None and clouds is None:
        unknown |= dict.fromkeys(PLACE, "needs clouds of the hand, or poses of objects")
    return unknown


def _from_priors(names: Iterable[str], twin: Domain, parameters: Parameters) -> dict[str, Estimate]:
    """Priors of what nothing was learnt about, unless the twin's file already says something or there is none."""
    priors = {name: parameters[name].prior for name in names if name not in twin.robot and name not in twin.episode}
    return {
        name: _estimate(
            parameters[name], *(np.full(parameters[name].size, x) for x in (prior.mean, prior.sd)), "prior"
        )
        for name, prior in priors.items()
        if prior is not None
    }


def _prior(parameter: Parameter) -> Prior:
    assert parameter.prior is not None, f"{parameter.name} has no prior"
    return parameter.prior


def _joint_estimates(fit: Fit, parameters: Parameters) -> dict[str, Estimate]:
    """Estimates with floors; a hand joint whose play was not seen may have stopped anywhere within it."""
    play = "hand.backlash_rad"
    unseen = np.clip(fit.sd(play) / _prior(parameters[play]).sd, 0, 1)
    hysteresis = {"hand.joint_bias_rad": fit.values(play) / np.sqrt(12) * unseen}
    return {
        name: _estimate(parameters[name], fit.values(name), fit.sd(name), "free motion", hysteresis.get(name, 0.0))
        for name in (*OFFSETS, *DYNAMICS)
    }


def _camera_estimates(camera: CameraFit, parameters: Parameters) -> dict[str, Estimate]:
    found = {
        "camera.position_bias_m": (camera.position_bias_m, camera.position_sd_m),
        "camera.yaw_bias_rad": (camera.yaw_bias_rad, camera.yaw_sd_rad),
        "table.height_m": (camera.table_height_m, camera.table_sd_m),
    }
    return {
        name: _estimate(parameters[name], np.atleast_1d(value), np.atleast_1d(sd), "rest, grasp and carry")
        for name, (value, sd) in found.items()
    }


def _cloud_estimates(clouds: CloudFit, twin: Domain, parameters: Parameters) -> dict[str, Estimate]:
    return {
        name: _estimate(parameters[name], value, sd, "clouds of the hand and of objects at rest")
        for name, (value, sd) in clouds.estimates(np.array(twin.camera.target_m)).items()
    }


def _used(fitted: Segments, segments: Segments, camera: CameraFit | None, clouds: CloudFit | None) -> dict[str, int]:
    """Episodes, and frames of the hand, that gave each kind of evidence."""
    used = {"free_motion_fitted": len(fitted.start), "free_motion": len(segments.start)}
    used |= camera.used if camera is not None else {}
    seen = {"hand_clouds": clouds.hand_frames, "rest_clouds": clouds.rest_episodes} if clouds is not None else {}
    return used | seen


def _estimate(
    parameter: Parameter, value: Array, statistical: Array, source: str, systematic: Array | float = 0.0
) -> Estimate:
    prior = _prior(parameter)
    sd = np.sqrt(statistical**2 + prior.floor**2 + np.square(systematic))
    value = np.clip(value, parameter.low, parameter.high)
    identified = bool(np.median(statistical) <= prior.sd / 2)
    numbers = (tuple(array.tolist()) for array in (value, sd, statistical))
    return Estimate(*numbers, identified, source, parameter.meaning)


def _sum_of_delays(fit: Fit, parameters: Parameters) -> tuple[float, float]:
    where = [fit.names.index("robot.lag_s"), fit.names.index("robot.delay_s")]
    floor = np.hypot(*(_prior(parameters[name]).floor for name in ("robot.lag_s", "robot.delay_s")))
    return float(fit.mean[where].sum()), float(np.sqrt(fit.covariance[np.ix_(where, where)].sum() + floor**2))


def _joint_jitter(fit: Fit, valid: np.ndarray) -> float:
    """Standard deviation per frame: third differences of the residual, in which errors of the model vanish."""
    together = valid[:, 3:] & valid[:, :-3]
    difference = np.diff(fit.residual_rad, n=3, axis=1)[together]
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(20)) if difference.size else 0.0


def _predictions(replay: ReplayFunction, candidates: Sequence[Values]) -> Array:
    """(candidates, e, t + 1, joints) measured positions that the twin predicts."""
    offsets = np.stack([np.concatenate([values[name] for name in OFFSETS]) for values in candidates])
    return replay(candidates) - offsets[:, None, None]


def _compare(judged: Segments, before: Array, after: Array, arm: int, held_out: bool) -> Comparison:
    rms = [np.sqrt(np.mean((path - judged.measured)[judged.valid] ** 2, axis=0)) for path in (before, after)]
    parts = {
        f"{part}_{when}_rms_rad": float(np.sqrt(np.mean(values[joints] ** 2)))
        for when, values in zip(("before", "after"), rms)
        for part, joints in (("arm", slice(0, arm)), ("hand", slice(arm, None)))
    }
    return Comparison(
        held_out=held_out,
        episodes=len(judged.start),
        frames=int(judged.valid.sum()),
        before_rms_rad=tuple(rms[0].tolist()),
        after_rms_rad=tuple(rms[1].tolist()),
        **parts,
    )


def _trajectories(judged: Segments, before: Array, after: Array, episodes: int) -> dict[str, Array]:
    """The longest episodes, for plots."""
    longest = np.argsort(-judged.valid.sum(1), kind="stable")[:episodes]
    arrays = {"measured": judged.measured, "before": before, "after": after, "valid": judged.valid}
    return {name: array[longest].astype(np.float32) for name, array in arrays.items()}
