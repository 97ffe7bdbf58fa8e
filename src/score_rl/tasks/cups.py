"""Cups of boxes around a floor, for the tasks that have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from score_rl.sim.robot import HAND, OBJECT

SIDES = 10
"""Boxes in the ring of a cup's wall: fewer leak at the corners, more cost contacts."""
GAP_M = 0.001
"""From the table to the wall's lower edge: the floor alone stands on the table, with few contacts."""


@dataclass(frozen=True)
class Cup:
    """An open cup. Its body's frame is on the axis at half height, z towards the mouth."""

    radius_m: float
    """From the axis to the flat outer sides."""
    height_m: float
    mass_kg: float
    """Spread evenly over floor and wall."""
    wall_m: float = 0.006
    """Thickness of the wall."""
    floor_m: float = 0.006
    """Thickness of the floor; a ball that falls from high goes through a thin one at the twin's step."""

    def add(self, spec: mujoco.MjSpec, name: str, xy: Sequence[float], rgba: Sequence[float]) -> None:
        """Add the cup to a scene as a free body, standing on the table at xy (m)."""
        body = spec.worldbody.add_body(name=name, pos=[*xy, self.height_m / 2])
        body.add_freejoint(name=name)
        shared = {"contype": OBJECT, "conaffinity": HAND | OBJECT, "condim": 4, "rgba": list(rgba)}
        floor, wall = np.pi * self.radius_m**2, 2 * np.pi * self.radius_m * self.height_m
        half = self.wall_m / 2
        body.add_geom(
            name=f"{name}_floor",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[self.radius_m, self.floor_m / 2, 0],
            pos=[0, 0, (self.floor_m - self.height_m) / 2],
            mass=self.mass_kg * floor / (floor + wall),
            **shared,
        )
        for side in range(SIDES):
            angle = 2 * np.pi * side / SIDES
            out = np.array([np.cos(angle), np.sin(angle)])
            body.add_geom(
                name=f"{name}_side_{side}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[half, self.radius_m * np.tan(np.pi / SIDES), (self.height_m - GAP_M) / 2],
                pos=[*(self.radius_m - half) * out, GAP_M / 2],
                quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
                mass=self.mass_kg * wall / (floor + wall) / SIDES,
                **shared,
            )
