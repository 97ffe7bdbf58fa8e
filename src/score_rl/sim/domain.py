"""Domains: which robot and which objects a simulated world shows, as a TOML file.

A domain lists, for every mismatch between a simulated robot and another one, how it is drawn: at the `robot`
level (once per robot seed: calibration errors, gains, lags, the camera; they stay fixed over that robot's
demonstrations and evaluation) and at the `episode` level (objects, sensor jitter). The value is the sum of the
draws that a domain declares; a parameter without any keeps its nominal value. `docs/domains.md` explains how to
write one's own hardware down.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import write_text
from score_rl.core.ranges import NonNegative, Positive, Range
from score_rl.core.records import parse, read_toml
from score_rl.core.run_record import verify
from score_rl.sim.camera import Camera, parse_camera
from score_rl.sim.engines.settings import ENGINES, EngineSettings, MujocoSettings
from score_rl.sim.parameters import Parameter, Parameters


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


ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "constant": ("value",),
    "normal": ("mean", "sd"),
    "uniform": ("low", "high"),
}
"""Kind of distribution -> its arguments."""
DIGEST = "sha256"
"""Key of the provenance with the digest of a file that we wrote; people's own files need none."""
_LEVELS = ("robot", "episode")
MAX_SUBSTEPS = 10_000
"""Physics steps per control period: more of them would never come to an end."""


@dataclass(frozen=True)
class Physics:
    """Which engine simulates, in which steps, and how."""

    engine: str = "mujoco"
    """Engine, see `score_rl.sim.engines`."""
    timestep_s: Annotated[float, Range(0, 0.1, open="low")] = 1 / 60
    """Physics step; must divide the control period."""
    arm_torque_scale: Positive = 1.0
    """Factor on the arm's torque limits. At steps of the order of the servos' time constants a saturated arm servo
    chatters (wrist: 10-20 mrad off its path at 16.7 ms), which limits out of reach prevent; they hardly matter to
    the path itself."""
    not_applied: tuple[str, ...] = ()
    """Parameters of this domain that the engine cannot represent and that its owner does without."""
    settings: EngineSettings = field(default_factory=MujocoSettings)
    """The engine's own (`engines.settings`); in a file the table `[physics.ENGINE]`."""

    def substeps(self, control_rate_hz: float) -> int:
        """Physics steps per control period; raises ScoreError where that is not a whole number, or beyond all use."""
        if (asked := 1 / control_rate_hz / self.timestep_s) > MAX_SUBSTEPS:
            raise ScoreError(
                f"timestep_s = {self.timestep_s} asks for {asked:.3g} physics steps per control period of "
                f"1/{control_rate_hz:g} s; {MAX_SUBSTEPS} are the most"
            )
        steps = round(asked)
        if abs(steps * self.timestep_s * control_rate_hz - 1) > 1e-6:
            raise ScoreError(
                f"timestep_s = {self.timestep_s} does not divide the control period 1/{control_rate_hz:g} s"
            )
        return steps

    def describe(self) -> dict[str, Any]:
        """As plain data, in the layout of a domain's file."""
        table = {key: value for key, value in vars(self).items() if key != "settings" and value != ()}
        return table | {self.engine: vars(self.settings).copy()}


@dataclass(frozen=True)
class ProtectiveStop:
    """Stop of the robot on a hand contact that would break a real hand; fixed before any result is seen."""

    force_n: NonNegative = 0.0
    """Filtered contact force, on any link of the hand, above which the episode ends as a failure. 0: no stop."""
    filter_s: NonNegative = 0.01
    """Time constant of the first-order force filter."""


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
    camera: Camera = field(default_factory=Camera)
    """What sees point clouds; in a file the values of `[camera]` that are no distributions."""

    def resolved(self, parameters: Parameters, source: str = "") -> Domain:
        """The domain for the objects of one task: what it says of `object.QUANTITY` becomes each object's own.

        What it says of an object by name holds instead, at both levels. Raises ScoreError for a parameter that the
        task does not have, a wrong number of elements and values out of physical bounds.
        """
        source = source or f"domain '{self.name}'"
        levels: dict[str, dict[str, Distribution]] = {level: {} for level in _LEVELS}
        said = {**self.robot, **self.episode}
        for name in said:
            parameter = _known(parameters, name, source)
            given = {level: getattr(self, level)[name] for level in _LEVELS if name in getattr(self, level)}
            for level, distribution in given.items():
                _check_size(distribution, parameter.size, f"{source}: {name}.{level}")
            _check_bounds(parameter, list(given.values()), f"{source}: {name}")
            for target in parameters:
                if target == name or (parameters.general_name(target) == name and target not in said):
                    for level, distribution in given.items():
                        levels[level][target] = distribution
        return replace(self, **levels)

    def describe(self) -> dict[str, Any]:
        """The domain as plain data, in the layout of its TOML file."""
        table: dict[str, Any] = {"name": self.name, "physics": self.physics.describe()}
        table["protective_stop"] = vars(self.protective_stop).copy()
        if self.camera != Camera():
            table["camera"] = vars(self.camera).copy()
        for level in _LEVELS:
            for name, distribution in getattr(self, level).items():
                owner, quantity = name.split(".")
                arguments = {
                    key: list(value) if len(value) > 1 else value[0]
                    for key, value in zip(ARGUMENTS[distribution.kind], distribution.arguments)
                }
                entry = table.setdefault(owner, {}).setdefault(quantity, {})
                entry[level] = {"distribution": distribution.kind, **arguments}
        return table


def shipped_domains() -> dict[str, Path]:
    """Names and files of the domains that come with the package."""
    folder = resources.files("score_rl.sim") / "domains"
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if str(f).endswith(".toml")}


def load_domain(name_or_path: str | Path, parameters: Parameters | None = None) -> Domain:
    """Read a domain: a shipped name ("twin", "proxy") or the path of a TOML file.

    With the `parameters` of a task its names, sizes and bounds are checked at once; otherwise when a world is made.
    Raises ScoreError for an unknown name, key or distribution, a file that is missing, cut off or was changed since
    `save_domain` wrote it, or a value out of physical bounds.
    """
    shipped = shipped_domains()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        if path.suffix == ".toml":
            raise ScoreError(f"domain file {path} does not exist")
        raise unknown_choice("domain", str(name_or_path), [*shipped, "PATH.toml"])
    verify(path.parent, path.name)
    table = read_toml(path)
    domain = parse_domain(table, str(path), parameters)
    _check_whole(table, path)
    return domain


def parse_domain(table: Mapping[str, Any], source: str = "domain", parameters: Parameters | None = None) -> Domain:
    """Build a domain from plain data (the layout of a TOML file; a key may be written `owner.quantity` as well).

    Raises ScoreError, naming `source` and the key, for unknown keys and for values that make no sense.
    """
    table = dict(table)
    name = table.pop("name", Path(source).stem)
    if not isinstance(name, str) or not name:
        raise ScoreError(f"{source}: name = {name!r} must be text")
    parse(Mapping[str, Any], table.pop("provenance", {}), source, key="provenance")
    physics = _physics(table.pop("physics", {}), f"{source} [physics]")
    stop = parse(ProtectiveStop, table.pop("protective_stop", {}), f"{source} [protective_stop]", defaults=True)
    camera, table = _camera(table, source)
    levels: dict[str, dict[str, Distribution]] = {level: {} for level in _LEVELS}
    for key, entry in _entries(table):
        if parameters is not None:
            _known(parameters, key, source)
        if not isinstance(entry, Mapping) or not entry:
            raise ScoreError(f"{source}: [{key}] must give a distribution at the level robot and/or episode")
        for level, description in entry.items():
            if level not in _LEVELS:
                raise unknown_choice(f"{source}: level of {key}", level, list(_LEVELS))
            size = parameters.find(key).size if parameters is not None else None
            levels[level][key] = _distribution(description, size, f"{source}: {key}.{level}")
    domain = Domain(name, levels["robot"], levels["episode"], physics, stop, camera)
    if parameters is not None:
        domain.resolved(parameters, source)
    return domain


def _camera(table: Mapping[str, Any], source: str) -> tuple[Camera, dict[str, Any]]:
    """The camera itself, and the table without it: `[camera]` holds its errors as well, which are distributions."""
    given = table.get("camera", {})
    if not isinstance(given, Mapping):
        return Camera(), dict(table)
    own = {key: value for key, value in given.items() if not isinstance(value, Mapping)}
    errors = {key: value for key, value in given.items() if key not in own}
    camera = parse_camera(own, f"{source} [camera]") if own else Camera()
    return camera, {**table, "camera": errors} if errors else {k: v for k, v in table.items() if k != "camera"}


def _entries(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(`owner.quantity`, what is said about it) of everything but the reserved tables."""
    for owner, entry in table.items():
        whole = not isinstance(entry, Mapping) or entry.keys() <= set(_LEVELS)  # a parameter, not an owner's table
        if "." in owner or whole:
            yield owner, entry
        else:
            yield from ((f"{owner}.{quantity}", value) for quantity, value in entry.items())


def _known(parameters: Parameters, name: str, source: str) -> Parameter:
    try:
        return parameters.find(name)
    except ScoreError as error:
        raise ScoreError(f"{source}: {error}") from None


def save_domain(path: Path, domain: Domain, provenance: Mapping[str, str] | None = None) -> None:
    """Write a domain as TOML, atomically; `provenance` says where it comes from."""
    table, provenance = domain.describe(), dict(provenance or {})
    digest = _digest(tomllib.loads(_document(table, provenance)))
    write_text(path, _document(table, provenance | {DIGEST: digest}))


def _document(table: Mapping[str, Any], provenance: Mapping[str, str]) -> str:
    """The text of a domain's file."""
    lines = [f"name = {_toml(table['name'])}", "", *_section("provenance", provenance)]
    for key, entry in table.items():
        lines += _section(key, entry) if key != "name" else ()
    return "\n".join(lines)


def _check_whole(table: Mapping[str, Any], path: Path) -> None:
    """Raise ScoreError where a domain's file was cut off, or changed since we wrote it.

    A file that people write needs `name` and `[physics]`, so that an empty one is no nominal robot.
    """
    if missing := [key for key in ("name", "physics") if key not in table]:
        raise ScoreError(f"{path} is no domain, or cut off: it lacks {' and '.join(missing)}")
    provenance = table.get("provenance")
    written = provenance.get(DIGEST) if isinstance(provenance, Mapping) else None
    if written is not None and written != _digest(table):
        raise ScoreError(f"{path} was changed or cut off; to make it a domain of your own, remove its line {DIGEST}")


def _digest(table: Mapping[str, Any]) -> str:
    """SHA-256 of a domain's table, of which the digest itself is left out."""
    provenance = {key: value for key, value in table.get("provenance", {}).items() if key != DIGEST}
    return hashlib.sha256(json.dumps({**table, "provenance": provenance}, sort_keys=True).encode()).hexdigest()


def _section(header: str, table: Mapping[str, Any]) -> list[str]:
    """Lines of a TOML table; distributions are written inline, other tables in it as sections of their own."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) and "distribution" not in value}
    own = [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if key not in inner]
    lines = [f"[{header}]", *own, ""] if own else []
    for key, value in inner.items():
        lines += _section(f"{header}.{key}", value)
    return lines


def _key(text: str) -> str:
    return text if text.replace("_", "").isalnum() and text.isascii() else _toml(text)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)  # the same in both languages
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(int(value))


def _physics(table: Any, where: str) -> Physics:
    given = dict(parse(Mapping[str, Any], table, where))
    engine = parse(str, given.pop("engine", Physics.engine), where, key="engine")
    if engine not in ENGINES:
        raise unknown_choice(f"{where} engine", engine, ENGINES)
    for other in ENGINES.keys() - {engine}:
        if other in given:
            raise ScoreError(f"{where}: the engine is {engine}, which does not read [physics.{other}]")
    own_table = f"{where.removesuffix(']')}.{engine}]"
    settings = parse(ENGINES[engine], given.pop(engine, {}), own_table, defaults=True)
    if "settings" in given:  # a field of the record, whose table has the engine's name
        raise unknown_choice(f"{where}: key", "settings", {engine, *vars(Physics())} - {"settings"})
    return replace(parse(Physics, given, where, defaults=True), engine=engine, settings=settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _distribution(description: Any, size: int | None, where: str) -> Distribution:
    if not isinstance(description, Mapping) or "distribution" not in description:
        raise ScoreError(f'{where} must look like {{ distribution = "normal", mean = 0.0, sd = 0.1 }}')
    given = dict(description)
    kind = parse(str, given.pop("distribution"), where, key="distribution")
    if kind not in ARGUMENTS:
        raise unknown_choice(f"{where}: distribution", kind, ARGUMENTS)
    if set(given) != set(ARGUMENTS[kind]):
        raise ScoreError(f"{where}: {kind} takes {', '.join(ARGUMENTS[kind])}; got {', '.join(given) or 'none'}")
    arguments = []
    for key in ARGUMENTS[kind]:
        values = given[key] if isinstance(given[key], (list, tuple)) else [given[key]]
        fits = len(values) in (1, size) if size else values
        if not fits or not all(_is_number(value) for value in values):
            raise ScoreError(f"{where}: {key} = {given[key]!r} must be {_numbers_wanted(size)}")
        arguments.append(tuple(float(value) for value in values))
    first, last = np.asarray(arguments[0]), np.asarray(arguments[-1])
    if kind == "normal" and (last < 0).any():
        raise ScoreError(f"{where}: sd = {given['sd']} must not be negative")
    if kind == "uniform" and (first > last).any():
        raise ScoreError(f"{where}: low = {given['low']} is above high = {given['high']}")
    return Distribution(kind, tuple(arguments))


def _check_size(distribution: Distribution, size: int, where: str) -> None:
    for key, values in zip(ARGUMENTS[distribution.kind], distribution.arguments):
        if len(values) not in (1, size):
            raise ScoreError(f"{where}: {key} = {list(values)} must be {_numbers_wanted(size)}")


def _numbers_wanted(size: int | None) -> str:
    return {None: "one or more finite numbers", 1: "1 finite number"}.get(size, f"1 or {size} finite numbers")


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
