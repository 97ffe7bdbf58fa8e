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


EngineSettings = MujocoSettings
"""The settings of any engine."""
ENGINES: Mapping[str, type[EngineSettings]] = {"mujoco": MujocoSettings}
"""Engine -> its settings. The engine itself is the module `engines.NAME`, loaded when a world needs it."""
