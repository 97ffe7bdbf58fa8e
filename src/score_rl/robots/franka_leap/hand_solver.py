"""The offline problem behind the tables of `hand_postures`: where to hold the hand, and the fingers for all openings.

Unknowns are one palm pose in the pinch frame (see `hand_postures`) and 12 finger joints per opening; the ring
finger stays curled. Nonlinear least squares asks for

* fingertips that oppose each other: thumb between index and middle finger, at one height, pads apart by the opening;
* everything but the fingertips clear of the table and of the object, and tips that touch the object with their ends;
* a flange near vertical, and smooth changes of the joints from one opening to the next.

Other starts find other grasps, several of which collide in simulation: `SolveConfig.start` is the one that was
kept. Print the solution with `python -m score_rl.robots.franka_leap.hand_solver`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from score_rl.robots.franka_leap.hand_postures import (
    FINGER_RADIUS_M,
    PINCH,
    SOLVED_JOINTS,
    THIN_PINCH,
    THUMB_RADIUS_M,
    WIDE_PINCH,
    Fingers,
    PinchTable,
    squeeze_direction,
)
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, Robot

Array = NDArray[np.float64]


RIM_M = 0.018
"""How far below a plate's rim it is pinched."""


@dataclass(frozen=True)
class SolveConfig:
    """What a good pinch is. Lengths in metres; every residual is about 1 where it starts to matter."""

    openings_m: tuple[float, ...] = PINCH.openings_m
    width_m: float = 0.045
    """Of the object: a cube's edge or a diameter; among the openings."""
    shape: Literal["cube", "cylinder", "ball", "plate"] = "cube"
    """Of the object: a cube on the table, a cylinder that lies on it along the pinch frame's y, or a ball about the
    middle of the pinch, above the table, or a plate across the pinch that ends `RIM_M` above it."""
    height_m: float = 0.026
    """Height of the pinch over the table."""
    separation_m: float = 0.022
    """Least distance of index and middle fingertip along the object's side."""
    face_m: float = 0.013
    """Fingertips stay this near to the middle of the object's side."""
    flange_tilt_deg: float = 33.0
    """Free tilt of the flange from the vertical."""
    table_clearance_m: float = 0.018
    """For everything but the fingertips."""
    clearance_m: float = 0.004
    """For everything but the fingertips, where the hand is at least as open as the object is wide."""
    least_slope: float = 0.2
    """Least downward component of the last links' directions."""
    margin_rad: float = 0.06
    """Distance kept from the joint limits."""
    rest: tuple[float, ...] = (0.8, 0.0, 0.6, 0.4, 0.8, 0.0, 0.6, 0.4, 1.2, 0.6, 0.4, 0.4)
    """Posture to which joints that matter little are drawn."""
    start: tuple[float, ...] = (0.0, 0.98, 1.75, 0.2, 0.8, -0.9, 0.5, 0.2, 0.45, 0.1, 0.85, 0.1)
    start_rotation: tuple[float, ...] = (0.4, 0.8, 0.45, 0.4, 0.3, -0.87, -0.83, 0.5, -0.2)
    start_position_m: tuple[float, float, float] = (0.01, 0.06, 0.08)
    iterations: int = 250


WIDE = SolveConfig(
    openings_m=WIDE_PINCH.openings_m,
    width_m=0.064,
    shape="cylinder",
    height_m=0.022,
    separation_m=0.025,
    face_m=0.02,
    flange_tilt_deg=60.0,
    clearance_m=0.025,
    start=(0.03, 0.0, 0.82, 1.06, 0.42, -0.49, 0.25, 1.21, 1.09, 0.2, 0.31, 0.69),
    start_rotation=(0.85, 0.43, -0.31, 0.23, -0.82, -0.52, -0.47, 0.37, -0.8),
    start_position_m=(0.0, 0.0, 0.106),
    iterations=100,
)
"""The problem behind `hand_postures.WIDE_PINCH`: a bottle."""

BULB = SolveConfig(
    openings_m=(0.050, 0.060, 0.075, 0.090, 0.105),
    width_m=0.060,
    shape="ball",
    height_m=0.130,
    separation_m=0.022,
    clearance_m=0.012,
    iterations=150,
)
"""The problem behind `hand_postures.BULB_PINCH`."""

PLATE = SolveConfig(
    openings_m=(0.010, 0.020, 0.035, 0.050, 0.065),
    width_m=0.010,
    shape="plate",
    height_m=0.150,
    clearance_m=0.006,
    iterations=150,
)
"""The problem behind `hand_postures.PLATE_PINCH`."""

THIN = SolveConfig(
    openings_m=THIN_PINCH.openings_m,
    width_m=0.002,
    shape="plate",
    flange_tilt_deg=35.0,
    clearance_m=0.003,
    least_slope=-1.0,
    start=(1.6, -0.1, 0.25, 0.15, 1.3, -0.75, 0.5, 0.1, 0.71, 0.55, 0.4, 0.3),
    start_rotation=(0.2, 0.94, 0.27, 0.6, 0.1, -0.79, -0.77, 0.32, -0.54),
    start_position_m=(0.033, 0.093, 0.073),
    iterations=60,
)
"""The problem behind `hand_postures.THIN_PINCH`: a card between straight fingers and the thumb."""


class _Problem:
    """Residuals of one candidate x = (rotation vector, position, joints of every opening)."""

    def __init__(self, config: SolveConfig, robot: Robot) -> None:
        self.config, self.fingers, self.count = config, Fingers(robot), len(config.openings_m)
        self.points, self.radii, self.is_tip = _sample_points(self.fingers.model)
        self.half = config.width_m / 2
        self.centre = np.array([0.0, 0.0, 0.0 if config.shape in ("ball", "plate") else self.half - config.height_m])

    def residual(self, x: Array) -> Array:
        config = self.config
        rotation, position, joints = Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6], x[6:].reshape(self.count, 12)
        parts = []
        for opening, q in zip(config.openings_m, joints):
            tips, axes = self.fingers(q)
            parts += self._tips(tips @ rotation.T + position, axes @ rotation.T, opening)
            parts += self._clearance(self._sampled() @ rotation.T + position, opening)
            parts.append(0.06 * (q - config.rest))
        parts.append(1.0 * np.diff(joints, n=2, axis=0))
        upright = np.cos(np.radians(config.flange_tilt_deg))
        parts.append(np.array([40.0 * max(0.0, upright + rotation[2, 0])]))
        return np.concatenate([part.ravel() for part in parts])

    def _tips(self, tips: Array, axes: Array, opening: float) -> list[Array]:
        config, y = self.config, tips[:, 1]
        wanted = opening / 2 + np.array([FINGER_RADIUS_M, FINGER_RADIUS_M, THUMB_RADIUS_M])
        apart = max(0.0, config.separation_m - abs(y[0] - y[1]))
        return [
            (tips[:, 0] * (1, 1, -1) - wanted) / 0.003,
            tips[:, 2] / 0.003,
            np.array([(y[0] + y[1]) / 2 - y[2], apart]) / 0.004,
            y[2:] / 0.01,
            np.maximum(0.0, np.abs(y) - config.face_m) / 0.004,
            5.0 * np.maximum(0.0, config.least_slope + axes[:, 2]),
        ]

    def _clearance(self, points: Array, opening: float) -> list[Array]:
        config, links = self.config, ~self.is_tip
        table = points[links, 2] - self.radii[links] + config.height_m
        parts = [np.maximum(0.0, config.table_clearance_m - table) / 0.005]
        surface = _DISTANCES[config.shape](points - self.centre, self.half) - self.radii
        if opening >= config.width_m:
            parts.append(np.maximum(0.0, config.clearance_m - surface[links]) / 0.004)
        if opening == config.width_m:
            parts.append(np.maximum(0.0, -0.0003 - surface[self.is_tip]) / 0.00033)
        return parts

    def _sampled(self) -> Array:
        """Sample points (k, 3) on the hand in the palm frame, at the posture that was set last."""
        bodies, offsets = self.points
        data = self.fingers.data
        world = data.xpos[bodies] + np.einsum("kij,kj->ki", data.xmat[bodies].reshape(-1, 3, 3), offsets)
        palm = data.site(self.fingers.robot.palm)
        return (world - palm.xpos) @ palm.xmat.reshape(3, 3)


def solve(config: SolveConfig | None = None, robot: Robot = FRANKA_LEAP) -> PinchTable:
    """Solve the posture problem; about a minute."""
    config = config or SolveConfig()
    problem = _Problem(config, robot)
    lower = np.array(robot.target_lower[robot.arm_dof :])[SOLVED_JOINTS] + config.margin_rad
    upper = np.array(robot.target_upper[robot.arm_dof :])[SOLVED_JOINTS] - config.margin_rad
    rotation = Rotation.from_matrix(np.reshape(config.start_rotation, (3, 3)))
    joints = np.clip(config.start, lower + 1e-6, upper - 1e-6)
    start = np.r_[rotation.as_rotvec(), config.start_position_m, np.tile(joints, problem.count)]
    bounds = (np.r_[[-10.0] * 6, np.tile(lower, problem.count)], np.r_[[10.0] * 6, np.tile(upper, problem.count)])
    x = least_squares(problem.residual, start, bounds=bounds, max_nfev=config.iterations).x
    turned, solved = Rotation.from_rotvec(x[:3]).as_matrix(), x[6:].reshape(problem.count, 12)
    at_object = solved[np.argmin(np.abs(np.array(config.openings_m) - config.width_m))]
    return PinchTable(
        openings_m=config.openings_m,
        palm_rotation=tuple(turned.ravel().round(4).tolist()),
        palm_position_m=tuple(x[3:6].round(4).tolist()),
        joints=tuple(tuple(row) for row in solved.round(3).tolist()),
        squeeze_rad_per_n=tuple(squeeze_direction(at_object, turned, robot).round(4).tolist()),
    )


def _sample_points(model: mujoco.MjModel) -> tuple[tuple[Array, Array], Array, Array]:
    """Points along every colliding hand geom: ((bodies, offsets), radii, belongs to a fingertip)."""
    bodies, offsets, radii, tips = [], [], [], []
    for geom in np.flatnonzero(model.geom_contype == HAND):
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        axes, size = turn.reshape(3, 3), model.geom_size[geom]
        capsule = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
        steps = [(0, 0, t) for t in (-1, -0.5, 0, 0.5, 1)] if capsule else list(np.ndindex(3, 3, 3))
        for step in steps:
            local = (0, 0, step[2] * size[1]) if capsule else (np.array(step) - 1) * size
            bodies.append(model.geom_bodyid[geom])
            offsets.append(model.geom_pos[geom] + axes @ np.asarray(local, float))
            radii.append(size[0] if capsule else 0.0)
            tips.append(model.geom(geom).name.startswith("tip_"))
    return (np.array(bodies), np.array(offsets)), np.array(radii), np.array(tips)


def _box_distance(points: Array, half: Array) -> Array:
    """Signed distance (k,) of points (k, 3) to a box of half sizes (3,) about the origin."""
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=1) + np.minimum(beyond.max(axis=1), 0.0)


def _cylinder_distance(points: Array, radius: float) -> Array:
    """Signed distance (k,) of points (k, 3) to an endless cylinder about the y axis."""
    return np.hypot(points[:, 0], points[:, 2]) - radius


def _ball_distance(points: Array, radius: float) -> Array:
    """Signed distance (k,) of points (k, 3) to a ball about the origin."""
    return np.linalg.norm(points, axis=1) - radius


def _plate_distance(points: Array, half: float) -> Array:
    """Signed distance (k,) of points (k, 3) to a plate across x that ends `RIM_M` above the origin."""
    beyond = np.stack([np.abs(points[:, 0]) - half, points[:, 2] - RIM_M], axis=1)
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=1) + np.minimum(beyond.max(axis=1), 0.0)


_DISTANCES = {
    "cube": _box_distance,
    "cylinder": _cylinder_distance,
    "ball": _ball_distance,
    "plate": _plate_distance,
}


if __name__ == "__main__":
    print(solve(), solve(WIDE), solve(BULB), solve(PLATE), solve(THIN), sep="\n")
