"""What can be set of each engine, in its own table `[physics.ENGINE]` of a domain; read without loading an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from score_rl.core.ranges import Count, NonNegative, Positive, Range


@dataclass(frozen=True)
class MujocoSettings:
    """Numerical settings of MuJoCo."""

    iterations: Count = 10
    """Constraint solver iterations."""
    line_search_iterations: Count = 20
    """Line-search iterations of the solver."""
    impratio: Positive = 10.0
    """Ratio of frictional to normal constraint impedance (elliptic cones)."""
    integrator: Literal["implicitfast", "discrete"] = "implicitfast"
    """Those of MuJoCo that are stable at the twin's step."""


@dataclass(frozen=True)
class PhysxSettings:
    """Numerical settings of PhysX (TGS solver, persistent contacts, enhanced determinism)."""

    position_iterations: Annotated[int, Range(1, 255)] = 16
    """Position iterations of the solver."""
    velocity_iterations: Annotated[int, Range(0, 255)] = 1
    """Velocity iterations of the solver."""
    contact_offset_m: Positive = 0.004
    """Distance at which two shapes begin to make contacts; they still touch at 0."""
    patch_radius_m: NonNegative = 0.0075
    """Radius of the patch at which contacts of one point resist turning about their normal; PhysX's limit is 2/3 of
    friction x force x radius, so 0.004 m x force at the objects' mean friction of 0.8 (MuJoCo: 0.005 m x force)."""
    bristle_nm_rad: Positive = 40.0
    """Stiffness of dry friction in a joint before it slides; less where the physics step asks for it."""


EngineSettings = MujocoSettings | PhysxSettings
"""The settings of any engine."""
ENGINES: Mapping[str, type[EngineSettings]] = {"mujoco": MujocoSettings, "physx": PhysxSettings}
"""Engine -> its settings. The engine itself is the module `engines.NAME`, loaded when a world needs it."""
