"""What can be set of each engine, in its own table `[physics.ENGINE]` of a domain; read without loading an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from score_rl.core.errors import ScoreError, unknown_choice

INTEGRATORS = ("implicitfast", "discrete")
"""Integrators of MuJoCo that are stable at the twin's step."""


@dataclass(frozen=True)
class MujocoSettings:
    """Numerical settings of MuJoCo."""

    iterations: int = 10
    """Constraint solver iterations."""
    line_search_iterations: int = 20
    """Line-search iterations of the solver."""
    impratio: float = 10.0
    """Ratio of frictional to normal constraint impedance (elliptic cones)."""
    integrator: str = "implicitfast"
    """"implicitfast" or "discrete"."""

    def check(self, where: str) -> None:
        """Raise ScoreError, naming `where`, for values that make no sense."""
        if self.integrator not in INTEGRATORS:
            raise unknown_choice(f"{where} integrator", self.integrator, INTEGRATORS)
        for key in ("iterations", "line_search_iterations"):
            if not isinstance(getattr(self, key), int) or getattr(self, key) < 1:
                raise ScoreError(f"{where}: {key} = {getattr(self, key)!r} must be a whole number >= 1")
        if self.impratio <= 0:
            raise ScoreError(f"{where}: impratio = {self.impratio!r} must be positive")


@dataclass(frozen=True)
class PhysxSettings:
    """Numerical settings of PhysX (TGS solver, persistent contacts, enhanced determinism)."""

    position_iterations: int = 16
    """Position iterations of the solver."""
    velocity_iterations: int = 1
    """Velocity iterations of the solver."""
    contact_offset_m: float = 0.004
    """Distance at which two shapes begin to make contacts; they still touch at 0."""
    patch_radius_m: float = 0.0075
    """Radius of the patch at which contacts of one point resist turning about their normal; PhysX's limit is 2/3 of
    friction x force x radius, so 0.004 m x force at the objects' mean friction of 0.8 (MuJoCo: 0.005 m x force)."""
    bristle_nm_rad: float = 40.0
    """Stiffness of dry friction in a joint before it slides; less where the physics step asks for it."""

    def check(self, where: str) -> None:
        """Raise ScoreError, naming `where`, for values that make no sense."""
        for key, least in (("position_iterations", 1), ("velocity_iterations", 0)):
            value = getattr(self, key)
            if not isinstance(value, int) or not least <= value <= 255:
                raise ScoreError(f"{where}: {key} = {value!r} must be a whole number, {least} to 255")
        for key in ("contact_offset_m", "bristle_nm_rad"):
            if getattr(self, key) <= 0:
                raise ScoreError(f"{where}: {key} = {getattr(self, key)!r} must be positive")


EngineSettings = MujocoSettings | PhysxSettings
"""The settings of any engine."""
ENGINES: Mapping[str, type[EngineSettings]] = {"mujoco": MujocoSettings, "physx": PhysxSettings}
"""Engine -> its settings. The engine itself is the module `engines.NAME`, loaded when a world needs it."""
