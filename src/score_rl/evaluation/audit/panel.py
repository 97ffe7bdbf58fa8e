"""The panel: variations of a calibrated twin, one mismatch at a time and all together, graded in size.

Size 1 of a mismatch is its unit: about what a careful owner of a robot leaves open. A variation is a set of virtual
robots, because systematic errors stay with a robot; where a mismatch has a direction per joint or axis, every
virtual robot has its own. Sizes of one virtual robot lie on one line, so that only the size is graded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from score_rl.core.errors import unknown_choice
from score_rl.core.seeding import rng
from score_rl.sim.domain import PARAMETERS, Distribution, Domain, Physics

Kind = Literal["more", "shift", "factor", "finer"]
JOINT, NOMINAL, PHYSICS_STEP = "joint", "nominal", "physics_step"
FINEST_S = 1 / 600
"""Smallest physics step of the panel."""


@dataclass(frozen=True)
class Mismatch:
    """One quantity in which the twin may be wrong."""

    parameter: str
    """Parameter of a domain, or `physics_step`."""
    kind: Kind
    """more: the unit is added, one sided. shift: added with either sign, normally distributed per joint or axis.
    factor: multiplied or divided by 1 + unit per size. finer: the physics step is divided by 1 + unit x size."""
    unit: float
    """Size 1, in the parameter's unit."""

    def amount(self, size: float) -> float:
        """The change of a size: what is added, or the factor."""
        if self.kind in ("more", "shift"):
            return size * self.unit
        return (1 + self.unit) ** size if self.kind == "factor" else 1 + self.unit * size

    def text(self, size: float) -> str:
        """A size in physical words, e.g. `+20 ms`, `x 1.21`."""
        amount = self.amount(abs(size))
        if self.kind == "finer":
            return f"step / {amount:.3g}"
        if self.kind == "factor":
            return f"x {amount if size > 0 else 1 / amount:.3g}"
        scale, unit = next(shown for suffix, shown in SHOWN.items() if self.parameter.endswith(suffix))
        sign = ("+" if size > 0 else "-") if self.kind == "more" or PARAMETERS[self.parameter].size == 1 else "sd "
        return f"{sign}{scale * amount:.3g} {unit}"


SHOWN = {"_nm": (1000, "mN m"), "_rad": (1000, "mrad"), "_m": (1000, "mm"), "_s": (1000, "ms")}
"""Suffix of a parameter -> (factor, unit) for people."""

PANEL: tuple[Mismatch, ...] = (
    Mismatch("delay_s", "more", 0.010),
    Mismatch("lag_s", "more", 0.010),
    Mismatch("hand_backlash_rad", "more", 0.015),
    Mismatch("arm_backlash_rad", "more", 0.002),
    Mismatch("hand_gain_scale", "factor", 0.15),
    Mismatch("arm_gain_scale", "factor", 0.10),
    Mismatch("hand_torque_limit_nm", "factor", 0.20),
    Mismatch("hand_dry_friction_nm", "more", 0.010),
    Mismatch("object_friction", "factor", 0.20),
    Mismatch("object_mass_scale", "factor", 0.25),
    Mismatch("object_size_scale", "factor", 0.02),
    Mismatch("contact_time_constant_s", "factor", 0.40),
    Mismatch("camera_position_bias_m", "shift", 0.003),
    Mismatch("camera_yaw_bias_rad", "shift", 0.010),
    Mismatch("hand_joint_bias_rad", "shift", 0.015),
    Mismatch("arm_joint_bias_rad", "shift", 0.002),
    Mismatch("table_height_m", "shift", 0.002),
    Mismatch("object_position_jitter_m", "more", 0.002),
    Mismatch("object_rotation_jitter_rad", "more", 0.020),
    Mismatch("joint_jitter_rad", "more", 0.002),
    Mismatch(PHYSICS_STEP, "finer", 1.0),
)
"""Every parameter of a domain, and the physics step."""


@dataclass(frozen=True)
class Variation:
    """One cell of the panel."""

    mismatch: str
    """Parameter, `nominal` or `joint`."""
    direction: str
    """`higher`, `lower`, or empty where there is one direction or many."""
    size: float
    text: str
    """The size in physical words."""
    robots: tuple[Domain, ...]
    """Virtual robots; a domain stands for one, with robot seed 0."""


def panel(
    domain: Domain,
    sizes: Sequence[float],
    robots: int,
    only: Sequence[str] = (),
    mismatches: Sequence[Mismatch] = PANEL,
) -> list[Variation]:
    """The nominal twin, every mismatch at every size, and all together.

    robots: virtual robots of a joint variation; half as many where a mismatch has many directions.
    only: mismatches (or `joint`) to look at; all by default. Raises ScoreError for an unknown one.
    """
    known = [*(m.parameter for m in mismatches), JOINT]
    for name in only:
        if name not in known:
            raise unknown_choice("mismatch", name, known)
    cells = [Variation(NOMINAL, "", 0.0, "", (domain,))]
    for mismatch in mismatches:
        if not only or mismatch.parameter in only:
            cells += single(domain, mismatch, sizes, max(1, robots // 2))
    if not only or JOINT in only:
        for size in sizes:
            together = tuple(joint(domain, mismatches, size, robot) for robot in range(robots))
            cells.append(Variation(JOINT, "", size, f"all at {size:g}", together))
    return cells


def single(domain: Domain, mismatch: Mismatch, sizes: Sequence[float], robots: int) -> list[Variation]:
    """One mismatch at every size, in every direction that it has."""
    name, size_of = mismatch.parameter, _elements(mismatch)
    if mismatch.kind == "shift" and size_of > 1:
        directions = [rng("audit", name, robot).standard_normal(size_of) for robot in range(robots)]
        return [
            Variation(name, "", s, mismatch.text(s), tuple(vary(domain, mismatch, s * d) for d in directions))
            for s in sizes
        ]
    signs = {"": 1} if mismatch.kind in ("more", "finer") else {"higher": 1, "lower": -1}
    return [
        Variation(name, word, s, mismatch.text(sign * s), (vary(domain, mismatch, np.full(size_of, sign * s)),))
        for word, sign in signs.items()
        for s in sizes
    ]


def joint(domain: Domain, mismatches: Sequence[Mismatch], size: float, robot: int) -> Domain:
    """A virtual robot with all mismatches at once, each drawn from a normal distribution of this size."""
    for mismatch in mismatches:
        draw = rng("audit joint", mismatch.parameter, robot).standard_normal(_elements(mismatch))
        if mismatch.kind in ("more", "finer"):
            draw = np.abs(draw)
        domain = vary(domain, mismatch, size * draw)
    return domain


def vary(domain: Domain, mismatch: Mismatch, sizes: np.ndarray) -> Domain:
    """The domain with one mismatch of a signed size per element (p,); draws stay within physical bounds."""
    if mismatch.kind == "finer":
        return replace(domain, physics=finer(domain.physics, mismatch.amount(float(sizes[0]))))
    robot, episode, name = dict(domain.robot), dict(domain.episode), mismatch.parameter
    parameter = PARAMETERS[name]
    if mismatch.kind == "factor":
        factor = np.array([mismatch.amount(abs(s)) ** np.sign(s) for s in sizes])
        if name not in robot and name not in episode:
            robot[name] = Distribution("constant", ((parameter.nominal,),))
        for level in (robot, episode):
            if name in level:
                level[name] = _mapped(level[name], lambda values, _: values * factor)
    else:
        # A parameter that is drawn per episode only has no robot-level value to add to: its robot's share is 0.
        start = 0.0 if name in episode else parameter.nominal
        shifted = robot.get(name, Distribution("constant", ((start,),)))
        added = mismatch.unit * sizes
        robot[name] = _mapped(shifted, lambda values, key: values if key == "sd" else values + added)
    return replace(domain, robot=robot, episode=episode)


def finer(physics: Physics, factor: float, control_period_s: float = 0.1) -> Physics:
    """Physics with a step about `factor` times smaller that divides the control period, not below 1/600 s."""
    steps = round(control_period_s / physics.timestep_s * factor)
    return replace(physics, timestep_s=control_period_s / min(steps, round(control_period_s / FINEST_S)))


def _elements(mismatch: Mismatch) -> int:
    return 1 if mismatch.kind == "finer" else PARAMETERS[mismatch.parameter].size


_KEYS: Mapping[str, tuple[str, ...]] = {"constant": ("value",), "normal": ("mean", "sd"), "uniform": ("low", "high")}


def _mapped(distribution: Distribution, change: object) -> Distribution:
    """A distribution with `change(argument (p,), its key)` for every argument."""
    arguments = tuple(
        tuple(np.atleast_1d(change(np.asarray(values), key)).tolist())  # type: ignore[operator]
        for values, key in zip(distribution.arguments, _KEYS[distribution.kind])
    )
    return Distribution(distribution.kind, arguments)
