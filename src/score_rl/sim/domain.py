"""Domains: which robot and which objects a simulated world shows, as a TOML file.

A domain lists, for every mismatch between a simulated robot and another one, how it is drawn: at the `robot`
level (once per robot seed: calibration errors, gains, lags, the camera; they stay fixed over that robot's
demonstrations and evaluation) and at the `episode` level (objects, sensor jitter). The value is the sum of the
draws that a domain declares; a parameter without any keeps its nominal value. `docs/domains.md` explains how to
write one's own hardware down.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import write_text
from score_rl.core.seeding import rng

ARM, HAND, XYZ, SCALAR = 7, 16, 3, 1


@dataclass(frozen=True)
class Parameter:
    """One quantity in which simulated robots may differ."""

    size: int
    """Number of values: 1, 3 (x, y, z), 7 (arm joints) or 16 (hand joints)."""
    nominal: float
    """Value where a domain says nothing."""
    low: float
    """Smallest value that makes physical sense; draws are clipped to the bounds."""
    high: float
    """Largest value that makes physical sense."""
    meaning: str
    """One line for people, with units and frame."""


PARAMETERS: Mapping[str, Parameter] = {
    "arm_joint_bias_rad": Parameter(ARM, 0, -0.2, 0.2, "true minus measured arm joint position (sensor offset)"),
    "hand_joint_bias_rad": Parameter(HAND, 0, -0.5, 0.5, "true minus measured hand joint position (sensor offset)"),
    "arm_backlash_rad": Parameter(ARM, 0, 0, 0.1, "full width of the arm joints' play"),
    "hand_backlash_rad": Parameter(HAND, 0, 0, 0.3, "full width of the hand joints' play"),
    "arm_gain_scale": Parameter(SCALAR, 1, 0.1, 10, "factor on the arm's position gain"),
    "hand_gain_scale": Parameter(SCALAR, 1, 0.1, 10, "factor on the hand's position gain"),
    "delay_s": Parameter(SCALAR, 0, 0, 0.09, "dead time between a command and the servos"),
    "lag_s": Parameter(SCALAR, 0, 0, 0.5, "first-order time constant of the servos' targets"),
    "hand_torque_limit_nm": Parameter(SCALAR, 0.6, 0.05, 2, "torque limit of every hand joint"),
    "hand_dry_friction_nm": Parameter(SCALAR, 0, 0, 0.2, "Coulomb friction of every hand joint"),
    "contact_time_constant_s": Parameter(SCALAR, 0.02, 0.002, 0.1, "contact softness (MuJoCo solref[0])"),
    "table_height_m": Parameter(SCALAR, 0, -0.05, 0.05, "true table height in the robot base frame"),
    "camera_position_bias_m": Parameter(XYZ, 0, -0.05, 0.05, "observed minus true object position, base frame"),
    "camera_yaw_bias_rad": Parameter(SCALAR, 0, -0.5, 0.5, "rotation of the observed scene about the base's z"),
    "object_mass_scale": Parameter(SCALAR, 1, 0.1, 10, "factor on the mass of the object"),
    "object_friction": Parameter(SCALAR, 0.8, 0.05, 3, "sliding friction of every contact of the object"),
    "object_size_scale": Parameter(SCALAR, 1, 0.7, 1.4, "factor on the size of the object"),
    "object_position_jitter_m": Parameter(SCALAR, 0, 0, 0.05, "standard deviation, per frame, of its pose estimate"),
    "object_rotation_jitter_rad": Parameter(SCALAR, 0, 0, 0.5, "the same for its rotation vector"),
    "joint_jitter_rad": Parameter(SCALAR, 0, 0, 0.1, "standard deviation, per frame, of measured joints"),
}

_ENDS = np.cumsum([parameter.size for parameter in PARAMETERS.values()])
_SLICES = {name: slice(end - p.size, end) for (name, p), end in zip(PARAMETERS.items(), _ENDS.tolist())}
SCORES = int(_ENDS[-1])
"""Numbers in all parameters together: the length of one episode's scores."""
_LOW, _HIGH = (
    np.repeat(bounds, [parameter.size for parameter in PARAMETERS.values()])
    for bounds in zip(*((parameter.low, parameter.high) for parameter in PARAMETERS.values()))
)


@dataclass(frozen=True)
class Distribution:
    """constant(value), normal(mean, sd) or uniform(low, high); arguments are numbers or one number per element."""

    kind: str
    arguments: tuple[tuple[float, ...], ...]

    @property
    def draw(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(offset, factor), one number or one per element: a value is offset + factor x standard draw, which is
        N(0, 1) for a normal distribution and U(0, 1) for a uniform one."""
        first, last = self.arguments[0], self.arguments[-1]
        if self.kind == "constant":
            return first, (0.0,)
        return first, last if self.kind == "normal" else tuple(np.subtract(last, first).tolist())

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(centre, size) of standard scores, (value - centre) / size; size 0 for a constant."""
        first, last = np.array(self.arguments[0]), np.array(self.arguments[-1])
        if self.kind == "uniform":
            return tuple(((first + last) / 2).tolist()), tuple(((last - first) / 2).tolist())
        return self.draw


_ARGUMENTS = {"constant": ("value",), "normal": ("mean", "sd"), "uniform": ("low", "high")}
_STANDARD = {"normal": np.random.Generator.standard_normal, "uniform": np.random.Generator.random}
_LEVELS = ("robot", "episode")
INTEGRATORS = ("implicitfast", "discrete")
"""Integrators of MuJoCo that are stable at the twin's step."""


@dataclass(frozen=True)
class Physics:
    """Numerical settings of the simulator."""

    timestep_s: float = 1 / 60
    """Physics step; must divide the control period."""
    iterations: int = 10
    """Constraint solver iterations."""
    line_search_iterations: int = 20
    """Line-search iterations of the solver."""
    impratio: float = 10.0
    """Ratio of frictional to normal constraint impedance (elliptic cones)."""
    integrator: str = "implicitfast"
    """"implicitfast" or "discrete"."""
    arm_torque_scale: float = 1.0
    """Factor on the arm's torque limits. At steps of the order of the servos' time constants a saturated arm servo
    chatters (wrist: 10-20 mrad off its path at 16.7 ms), which limits out of reach prevent; they hardly matter to
    the path itself."""

    def substeps(self, control_rate_hz: float) -> int:
        """Physics steps per control period; raises ScoreError where that is not a whole number."""
        steps = round(1 / control_rate_hz / self.timestep_s)
        if abs(steps * self.timestep_s * control_rate_hz - 1) > 1e-6:
            raise ScoreError(
                f"timestep_s = {self.timestep_s} does not divide the control period 1/{control_rate_hz:g} s"
            )
        return steps


@dataclass(frozen=True)
class ProtectiveStop:
    """Stop of the robot on a hand contact that would break a real hand; fixed before any result is seen."""

    force_n: float = 0.0
    """Filtered contact force, on any link of the hand, above which the episode ends as a failure. 0: no stop."""
    filter_s: float = 0.01
    """Time constant of the first-order force filter."""


@dataclass(frozen=True)
class _Columns:
    """Distributions of an episode, all parameters side by side; every array is (SCORES,)."""

    start: np.ndarray
    """Value without any draw of the robot: nominal, or 0 where the episode draws."""
    offset: np.ndarray
    factor: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    """See `Distribution.draw` and `Distribution.scale`; zeros where the episode draws nothing."""
    kinds: Mapping[str, np.ndarray]
    """Kind -> (SCORES,) bool, which numbers need its standard draws."""


@dataclass(frozen=True)
class Domain:
    """A distribution over simulated robots and objects; read from TOML by `load_domain`."""

    name: str
    robot: Mapping[str, Distribution] = field(default_factory=dict)
    """Draws made once per robot seed."""
    episode: Mapping[str, Distribution] = field(default_factory=dict)
    """Draws made for every episode, added to the robot's."""
    physics: Physics = Physics()
    protective_stop: ProtectiveStop = ProtectiveStop()

    def draw_robot(self, robot_seed: int) -> dict[str, np.ndarray]:
        """The systematic part of one robot: {parameter: (size,)}.

        Every parameter has a stream of its own, so that a new parameter in the file leaves the others' draws alone.
        """
        values = {}
        for name, distribution in self.robot.items():
            size, standard = PARAMETERS[name].size, _STANDARD.get(distribution.kind)
            offset, factor = map(np.array, distribution.draw)
            values[name] = offset + factor * (
                standard(rng("robot", robot_seed, name), size) if standard else np.zeros(size)
            )
        return values

    @cached_property
    def _columns(self) -> _Columns:
        """The episode's distributions, all parameters side by side."""
        table = np.zeros((5, SCORES))
        kinds = {kind: np.zeros(SCORES, bool) for kind in _STANDARD}
        for name, parameter in PARAMETERS.items():
            mine, distribution = _SLICES[name], self.episode.get(name)
            if distribution is None:
                table[0, mine] = parameter.nominal
                continue
            for row, values in enumerate((*distribution.draw, *distribution.scale), start=1):
                table[row, mine] = values
            if distribution.kind in kinds:
                kinds[distribution.kind][mine] = True
        return _Columns(*table, {kind: mine for kind, mine in kinds.items() if mine.any()})

    def draw_episodes(
        self, robot: Mapping[str, np.ndarray], seeds: Sequence[int], names: Iterable[str] = tuple(PARAMETERS)
    ) -> dict[str, np.ndarray]:
        """Parameters of k episodes of a robot: {parameter: (k, size)}, clipped to their physical bounds.

        Every parameter has its own place in an episode's streams, so here too one more leaves the others alone.
        """
        columns, start = self._columns, self._columns.start.copy()
        for name, systematic in robot.items():
            start[_SLICES[name]] = systematic
        standard = np.zeros((len(seeds), SCORES))
        for kind, mine in columns.kinds.items():
            drawn = np.stack([_STANDARD[kind](rng("episode", seed, kind), SCORES) for seed in seeds])
            standard[:, mine] = drawn[:, mine]
        values = np.clip(start + (columns.offset + columns.factor * standard), _LOW, _HIGH)
        return {name: values[:, _SLICES[name]] for name in names}

    @property
    def varying(self) -> tuple[str, ...]:
        """Parameters that change from episode to episode."""
        return tuple(name for name, distribution in self.episode.items() if distribution.kind != "constant")

    def episode_scores(self, robot: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Parameters {name: (k, size)} of episodes as standard scores (k, SCORES), for a privileged critic.

        In the order of PARAMETERS, 0 for what does not vary: the layout is the same for every domain, so that a
        critic can go on from one to the next.
        """
        columns = self._columns
        scores = np.concatenate([values[name] - robot.get(name, 0.0) for name in PARAMETERS], axis=1) - columns.centre
        return np.divide(scores, columns.size, out=np.zeros_like(scores), where=columns.size > 0)

    def describe(self) -> dict[str, Any]:
        """The domain as plain data, in the layout of its TOML file."""
        table: dict[str, Any] = {"name": self.name, "physics": vars(self.physics).copy()}
        table["protective_stop"] = vars(self.protective_stop).copy()
        for level in _LEVELS:
            for name, distribution in getattr(self, level).items():
                arguments = {
                    key: list(value) if len(value) > 1 else value[0]
                    for key, value in zip(_ARGUMENTS[distribution.kind], distribution.arguments)
                }
                table.setdefault(name, {})[level] = {"distribution": distribution.kind, **arguments}
        return table


def shipped_domains() -> dict[str, Path]:
    """Names and files of the domains that come with the package."""
    folder = resources.files("score_rl.sim") / "domains"
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if str(f).endswith(".toml")}


def load_domain(name_or_path: str | Path) -> Domain:
    """Read a domain: a shipped name ("twin", "proxy") or the path of a TOML file.

    Raises ScoreError for an unknown name, key or distribution, a missing file, or a value out of physical bounds.
    """
    shipped = shipped_domains()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        if path.suffix == ".toml":
            raise ScoreError(f"domain file {path} does not exist")
        raise unknown_choice("domain", str(name_or_path), [*shipped, "PATH.toml"])
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScoreError(f"{path} is not valid TOML: {error}") from error
    return parse_domain(table, source=str(path))


def parse_domain(table: Mapping[str, Any], source: str = "domain") -> Domain:
    """Build a domain from plain data (the layout of a TOML file).

    Raises ScoreError, naming `source` and the key, for unknown keys and for values that make no sense.
    """
    table = dict(table)
    name = table.pop("name", Path(source).stem)
    if not isinstance(name, str) or not name:
        raise ScoreError(f"{source}: name = {name!r} must be text")
    table.pop("provenance", None)
    physics = _physics(table.pop("physics", {}), f"{source} [physics]")
    stop = ProtectiveStop(**_numbers(ProtectiveStop, table.pop("protective_stop", {}), f"{source} [protective_stop]"))
    levels: dict[str, dict[str, Distribution]] = {level: {} for level in _LEVELS}
    for key, entry in table.items():
        if key not in PARAMETERS:
            raise unknown_choice(f"{source}: parameter", key, [*PARAMETERS, "physics", "protective_stop"])
        if not isinstance(entry, Mapping) or not entry:
            raise ScoreError(f"{source}: [{key}] must give a distribution at the level robot and/or episode")
        for level, description in entry.items():
            if level not in _LEVELS:
                raise unknown_choice(f"{source}: level of {key}", level, list(_LEVELS))
            levels[level][key] = _distribution(description, PARAMETERS[key].size, f"{source}: {key}.{level}")
        _check_bounds(PARAMETERS[key], [levels[level][key] for level in entry], f"{source}: {key}")
    return Domain(name, levels["robot"], levels["episode"], physics, stop)


def save_domain(path: Path, domain: Domain, provenance: Mapping[str, str] | None = None) -> None:
    """Write a domain as TOML, atomically; `provenance` says where it comes from."""
    table = domain.describe()
    lines = [f"name = {_toml(table.pop('name'))}", ""]
    if provenance:
        lines += ["[provenance]", *(f"{_toml(key)} = {_toml(value)}" for key, value in provenance.items()), ""]
    for key, entry in table.items():
        lines.append(f"[{key}]")
        lines += [f"{name} = {_toml(value)}" for name, value in entry.items()]
        lines.append("")
    write_text(path, "\n".join(lines))


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)  # the same in both languages
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(int(value))


def _physics(table: Any, where: str) -> Physics:
    integrator = table.get("integrator", Physics.integrator) if isinstance(table, Mapping) else None
    if integrator not in (None, *INTEGRATORS):
        raise unknown_choice(f"{where} integrator", integrator, INTEGRATORS)
    physics = Physics(**_numbers(Physics, table, where))
    for key in ("iterations", "line_search_iterations"):
        if not isinstance(getattr(physics, key), int) or getattr(physics, key) < 1:
            raise ScoreError(f"{where}: {key} = {getattr(physics, key)!r} must be a whole number >= 1")
    if not 0 < physics.timestep_s <= 0.1:
        raise ScoreError(f"{where}: timestep_s = {physics.timestep_s!r} is outside (0, 0.1]")
    if physics.impratio <= 0:
        raise ScoreError(f"{where}: impratio = {physics.impratio!r} must be positive")
    return physics


def _numbers(record: type, table: Any, where: str) -> Mapping[str, Any]:
    """The table, checked: keys that the record has, finite values >= 0 (text where the record has text)."""
    if not isinstance(table, Mapping):
        raise ScoreError(f"{where} must be a table, not {table!r}")
    for key, value in table.items():
        if key not in record.__dataclass_fields__:
            raise unknown_choice(where, key, record.__dataclass_fields__)
        if not isinstance(getattr(record, key), str) and not (_is_number(value) and value >= 0):
            raise ScoreError(f"{where}: {key} = {value!r} must be a finite number >= 0")
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _distribution(description: Any, size: int, where: str) -> Distribution:
    if not isinstance(description, Mapping) or "distribution" not in description:
        raise ScoreError(f'{where} must look like {{ distribution = "normal", mean = 0.0, sd = 0.1 }}')
    given = dict(description)
    kind = given.pop("distribution")
    if kind not in _ARGUMENTS:
        raise unknown_choice(f"{where}: distribution", kind, _ARGUMENTS)
    if set(given) != set(_ARGUMENTS[kind]):
        raise ScoreError(f"{where}: {kind} takes {', '.join(_ARGUMENTS[kind])}; got {', '.join(given) or 'none'}")
    arguments = []
    for key in _ARGUMENTS[kind]:
        values = given[key] if isinstance(given[key], (list, tuple)) else [given[key]]
        if len(values) not in (1, size) or not all(_is_number(value) for value in values):
            numbers = "1 finite number" if size == 1 else f"1 or {size} finite numbers"
            raise ScoreError(f"{where}: {key} = {given[key]!r} must be {numbers}")
        arguments.append(tuple(float(value) for value in values))
    first, last = np.asarray(arguments[0]), np.asarray(arguments[-1])
    if kind == "normal" and (last < 0).any():
        raise ScoreError(f"{where}: sd = {given['sd']} must not be negative")
    if kind == "uniform" and (first > last).any():
        raise ScoreError(f"{where}: low = {given['low']} is above high = {given['high']}")
    return Distribution(kind, tuple(arguments))


def _check_bounds(parameter: Parameter, distributions: Sequence[Distribution], where: str) -> None:
    """What the levels add up to must make physical sense; a normal distribution is judged by its mean."""
    low, high = np.zeros(parameter.size), np.zeros(parameter.size)
    for distribution in distributions:
        first, last = distribution.arguments[0], distribution.arguments[-1]
        low = low + first
        high = high + (last if distribution.kind == "uniform" else first)
    if (low < parameter.low - 1e-12).any() or (high > parameter.high + 1e-12).any():
        raise ScoreError(
            f"{where}: {low.min():g} to {high.max():g} is outside [{parameter.low:g}, {parameter.high:g}] "
            f"({parameter.meaning})"
        )
