"""The panel: variations of a calibrated twin, one mismatch at a time and all together, graded in size.

Size 1 of a mismatch is its unit: about what a careful owner of a robot leaves open. A variation is a set of virtual
robots, because systematic errors stay with a robot; where a mismatch has a direction per joint or axis, every
virtual robot has its own. Sizes of one virtual robot lie on one line, so that only the size is graded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from score_rl.core.errors import unknown_choice
from score_rl.core.seeding import rng
from score_rl.sim.domain import ARGUMENTS, Distribution, Domain, Physics
from score_rl.sim.parameters import Parameters

JOINT, NOMINAL, PHYSICS_STEP = "joint", "nominal", "physics_step"
FINEST_S = 1 / 600
"""Smallest physics step of the panel."""


@dataclass(frozen=True)
class Mismatch:
    """One quantity in which the twin may be wrong."""

    parameter: str
    """Parameter of a domain, or `physics_step`."""
    kind: Literal["more", "shift", "factor", "finer"]
    """See `AuditUnit`."""
    unit: float
    """Size 1, in the parameter's unit."""
    elements: int = 1
    """Numbers in the parameter."""
    nominal: float = 0.0
    """Value where a domain says nothing."""
    stream: str = ""
    """Key of the random streams of its directions; by default the parameter."""
    members: tuple[str, ...] = ()
    """Names by which a domain may speak of single objects instead of all of them; they are changed too."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """Between which the parameter makes physical sense: a size that would go further ends there."""

    @property
    def key(self) -> str:
        """Key of the random streams of its directions."""
        return self.stream or self.parameter

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
        sign = ("+" if size > 0 else "-") if self.kind == "more" or self.elements == 1 else "sd "
        return f"{sign}{scale * amount:.3g} {unit}"


SHOWN = {"_nm": (1000, "mN m"), "_rad": (1000, "mrad"), "_m": (1000, "mm"), "_s": (1000, "ms"), "_share": (100, "%")}
"""Suffix of a parameter -> (factor, unit) for people."""

STEP = Mismatch(PHYSICS_STEP, "finer", 1.0)


def mismatches(parameters: Parameters, clouds: bool = False) -> tuple[Mismatch, ...]:
    """Every parameter that has an audit unit, and the physics step; clouds: errors of point clouds too."""
    return (
        *(
            Mismatch(
                name,
                p.audit.kind,
                p.audit.unit,
                p.size,
                p.nominal,
                p.key,
                tuple(parameters.members(name)),
                (p.low, p.high),
            )
            for name, p in parameters.general.items()
            if p.audit is not None and (p.told or clouds)
        ),
        STEP,
    )


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
    cause: Mismatch | None = None
    """The mismatch; None where it is none or all of them."""


def panel(
    domain: Domain,
    mismatches: Sequence[Mismatch],
    sizes: Sequence[float],
    robots: int,
    only: Sequence[str] = (),
) -> list[Variation]:
    """The nominal twin, every mismatch at every size, and all together.

    robots: virtual robots of a joint variation; half as many where a mismatch has many directions.
    only: mismatches (or `joint`) to look at; all by default. Raises ScoreError for an unknown one.
    """
    check_mismatches(only, mismatches)
    cells = [Variation(NOMINAL, "", 0.0, "", (domain,))]
    for mismatch in mismatches:
        if not only or mismatch.parameter in only:
            cells += single(domain, mismatch, sizes, max(1, robots // 2))
    if not only or JOINT in only:
        for size in sizes:
            together = tuple(joint(domain, mismatches, size, robot) for robot in range(robots))
            cells.append(Variation(JOINT, "", size, f"all at {size:g}", together))
    return cells


def check_mismatches(only: Sequence[str], mismatches: Sequence[Mismatch]) -> None:
    """Raise ScoreError for a name that is no mismatch and not `joint`."""
    known = [*(m.parameter for m in mismatches), JOINT]
    for name in only:
        if name not in known:
            raise unknown_choice("mismatch", name, known)


def single(domain: Domain, mismatch: Mismatch, sizes: Sequence[float], robots: int) -> list[Variation]:
    """One mismatch at every size, in every direction that it has."""
    name, size_of = mismatch.parameter, mismatch.elements
    if mismatch.kind == "shift" and size_of > 1:
        directions = [rng("audit", mismatch.key, robot).standard_normal(size_of) for robot in range(robots)]
        varied = {s: tuple(vary(domain, mismatch, s * d) for d in directions) for s in sizes}
        return [Variation(name, "", s, mismatch.text(s), varied[s], mismatch) for s in sizes]
    signs = {"": 1} if mismatch.kind in ("more", "finer") else {"higher": 1, "lower": -1}
    return [
        Variation(
            name, word, s, mismatch.text(sign * s), (vary(domain, mismatch, np.full(size_of, sign * s)),), mismatch
        )
        for word, sign in signs.items()
        for s in sizes
    ]


def joint(domain: Domain, mismatches: Sequence[Mismatch], size: float, robot: int) -> Domain:
    """A virtual robot with all mismatches at once, each drawn from a normal distribution of this size."""
    for mismatch in mismatches:
        draw = rng("audit joint", mismatch.key, robot).standard_normal(mismatch.elements)
        if mismatch.kind in ("more", "finer"):
            draw = np.abs(draw)
        domain = vary(domain, mismatch, size * draw)
    return domain


def vary(domain: Domain, mismatch: Mismatch, sizes: np.ndarray) -> Domain:
    """The domain with one mismatch of a signed size per element (p,), within physical bounds."""
    if mismatch.kind == "finer":
        return replace(domain, physics=finer(domain.physics, mismatch.amount(float(sizes[0]))))
    levels = {"robot": dict(domain.robot), "episode": dict(domain.episode)}
    said = {*domain.robot, *domain.episode}
    for name in {mismatch.parameter, *mismatch.members} & {mismatch.parameter, *said}:
        _vary_one(levels["robot"], levels["episode"], name, mismatch, sizes)
        _bound(levels["robot"], levels["episode"], name, mismatch.bounds)
    return replace(domain, **levels)


def _vary_one(
    robot: dict[str, Distribution],
    episode: dict[str, Distribution],
    name: str,
    mismatch: Mismatch,
    sizes: np.ndarray,
) -> None:
    """Change what the levels say about one name."""
    if mismatch.kind == "factor":
        factor = np.array([mismatch.amount(abs(s)) ** np.sign(s) for s in sizes])
        if name not in robot and name not in episode:
            robot[name] = Distribution("constant", ((mismatch.nominal,),))
        for level in (robot, episode):
            if name in level:
                level[name] = _mapped(level[name], lambda values, _: values * factor)
        return
    # A parameter that is drawn per episode only has no robot-level value to add to: its robot's share is 0.
    start = 0.0 if name in episode else mismatch.nominal
    shifted = robot.get(name, Distribution("constant", ((start,),)))
    added = mismatch.unit * sizes
    robot[name] = _mapped(shifted, lambda values, key: values if key == "sd" else values + added)


def _bound(
    robot: dict[str, Distribution], episode: dict[str, Distribution], name: str, bounds: tuple[float, float]
) -> None:
    """Keep what the levels say about one name, together, within bounds."""
    low, high = np.array(bounds[0]), np.array(bounds[1])
    if name in robot and name in episode:
        ends = episode[name].arguments[0], episode[name].arguments[-1 if episode[name].kind == "uniform" else 0]
        low, high = low - np.array(ends[0]), high - np.array(ends[1])
    level = robot if name in robot else episode
    level[name] = _mapped(level[name], lambda values, key: values if key == "sd" else np.clip(values, low, high))


def finer(physics: Physics, factor: float, control_period_s: float = 0.1) -> Physics:
    """Physics with a step about `factor` times smaller that divides the control period, not below 1/600 s."""
    steps = round(control_period_s / physics.timestep_s * factor)
    return replace(physics, timestep_s=control_period_s / min(steps, round(control_period_s / FINEST_S)))


def _mapped(distribution: Distribution, change: object) -> Distribution:
    """A distribution with `change(argument (p,), its key)` for every argument."""
    arguments = tuple(
        tuple(np.atleast_1d(change(np.asarray(values), key)).tolist())  # type: ignore[operator]
        for values, key in zip(distribution.arguments, ARGUMENTS[distribution.kind])
    )
    return Distribution(distribution.kind, arguments)
