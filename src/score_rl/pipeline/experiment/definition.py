"""An experiment as a TOML file: methods x tasks x robots x training seeds, and how much is evaluated."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.steering.methods import METHODS
from score_rl.tasks.recipe import FULL, Recipe, get_recipe, task_names
from score_rl.tasks.settings import SteerSettings

T = TypeVar("T")
ROLES = ("ours", "rival", "control")
EVALUATIONS = ("twin", "proxy", "proxy_raw")
"""Where every policy is evaluated: the calibrated twin; the recipe's verdict world (for the shipped recipes the
hardware proxy); the same without its protective stop."""
NAME = re.compile(r"[a-z0-9_]+")
REFERENCE_POLICIES = ("base", "base_z0")
"""Policies that need no training: evaluated once per task and robot."""


@dataclass(frozen=True)
class Method:
    """One way of improving the base policy."""

    name: str
    """Name in this experiment: small letters, digits and underscores."""
    method: str
    """`score steer --method`."""
    label: str
    """Name for people."""
    role: str = "rival"
    """"ours", "rival" or "control"; the best rival is the one of that role with the highest mean proxy success."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted setting of `score steer` -> value, e.g. {"learner.ppo.learning_rate" = 1e-3}."""
    twin_stop_n: float | None = None
    """Train in the calibrated twin with this protective stop (N; 0: none) in place of its own."""
    twin_calibration: float = 1.0
    """Train in a twin that holds this share of the calibration; 0: the twin that calibration starts from."""
    policy: str = "det"
    """The policy that stands for the method: det, its mean, or a policy's name where there is but one way."""
    demonstrations: bool = False
    """Whether the method reads the demonstrations while it learns (`score steer --dataset`)."""
    tasks: tuple[str, ...] = ()
    """Only on these of the experiment's tasks; by default on all."""
    robots: tuple[int, ...] = ()
    """Only on these of the experiment's robots; by default on all."""
    sweep: str | None = None
    """Name of the sweep that this method is a point of."""
    sweep_value: float | None = None
    """Value of the swept setting."""


@dataclass(frozen=True)
class Amounts:
    """How much is evaluated."""

    twin_episodes: int = 100
    """Episodes of every policy in the calibrated twin."""
    proxy_episodes: int = 200
    """Episodes of every policy in the proxy, and again without the protective stop."""
    first_seed: int = 1_000_000
    """First episode seed; all policies play the same seeds."""
    num_envs: int = 100
    """Environments stepped together."""
    traced: int = 0
    """Episodes of every policy that are kept in full."""
    stochastic: tuple[str, ...] = ("twin", "proxy")
    """Evaluations in which policies are also sampled, beside their means."""
    support: tuple[str, ...] = ("twin", "proxy")
    """Evaluations in which the support of what was executed is measured; it takes several times as long."""
    support_episodes: int = 0
    """Episodes of every policy in which it is measured, from the first; 0: all."""


@dataclass(frozen=True)
class Experiment:
    """What is compared; read from TOML by `load_experiment`."""

    name: str
    description: str
    tasks: tuple[str, ...]
    """Tasks; `score tasks` lists the names."""
    robots: tuple[int, ...]
    """Robot seeds: each has its own demonstrations, base policy, calibration and training."""
    training_seeds: tuple[int, ...]
    """Seeds of steering; demonstrations and base policy are made once per robot, with seed 0."""
    methods: tuple[Method, ...]
    recipe: str = FULL
    """Which recipe of every task, e.g. debug."""
    amounts: Amounts = Amounts()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted setting of a recipe -> value, for all tasks, e.g. {"steer.control_steps" = [1000000]}."""
    task_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task -> the same, for one task; applied last."""

    def cells(self, method: Method | None = None) -> list[tuple[str, int]]:
        """(task, robot) of the experiment, or of one of its methods."""
        tasks, robots = (method.tasks, method.robots) if method else ((), ())
        return [(task, robot) for task in tasks or self.tasks for robot in robots or self.robots]

    def recipe_of(self, task: str) -> Recipe:
        """The recipe of a task with this experiment's settings. Raises ScoreError for settings that do not exist."""
        recipe = get_recipe(task, self.recipe)
        for source, settings in (("settings", self.settings), ("task_settings", self.task_settings.get(task, {}))):
            for path, value in settings.items():
                recipe = changed(recipe, path, value, f"experiment {self.name}, [{source}]")
        return recipe


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file and check all of it.

    Raises ScoreError that names the file and the key: unknown keys, tasks, roles and settings, repeated names,
    values of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise ScoreError(f"experiment file {path} does not exist")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScoreError(f"{path} is not valid TOML: {error}") from error
    return parse_experiment(table, str(path))


def parse_experiment(table: Mapping[str, Any], source: str) -> Experiment:
    """An experiment from plain data (the layout of its file). Raises ScoreError; see `load_experiment`."""
    table = {"name": Path(source).stem, "description": "", "training_seeds": [0], **table}
    methods = [m for entry in table.pop("method", []) for m in _methods(entry, f"{source} [[method]]")]
    amounts = table.pop("evaluation", {})
    _check_keys(Experiment, [*table, "methods"], source, required=("tasks", "robots", "methods"))
    _check_keys(Amounts, amounts, f"{source} [evaluation]")
    experiment = Experiment(
        **_with_tuples(table),
        methods=tuple(methods),
        amounts=_changed_all(Amounts(), amounts, f"{source} [evaluation]"),
    )
    _check(experiment, source)
    return experiment


def steer_settings(recipe: Recipe, method: Method, seed: int) -> SteerSettings:
    """Settings of `score steer` for a method of an experiment. Raises ScoreError for settings that do not exist."""
    if method.method not in METHODS:
        raise unknown_choice(f"method of {method.name}", method.method, METHODS)
    settings = {"method": method.method, "learner.seed": seed, **method.settings}
    return _changed_all(recipe.steer, settings, f"method {method.name}")


def changed(value: T, path: str, new: Any, source: str, above: str = "") -> T:
    """A copy of nested frozen dataclasses with one field, named by its dotted path, set anew.

    Lists become tuples, whole numbers become fractions where the field holds one. Raises ScoreError, naming
    `source` and the whole path (`above`: what stands before it), for a field that does not exist or a value of
    another type.
    """
    name, _, rest = path.partition(".")
    names = [f.name for f in fields(value)] if dataclasses.is_dataclass(value) else []
    if name not in names:
        ending = f".{rest}" if rest else ""
        raise unknown_choice(f"{source}: setting", above + path, [above + known + ending for known in names])
    old = getattr(value, name)
    if rest:
        inner = changed(old, rest, new, source, f"{above}{name}.")
    else:
        inner = _converted(old, new, f"{source}: {above}{path}")
    return replace(value, **{name: inner})  # type: ignore[type-var]


def _changed_all(value: T, settings: Mapping[str, Any], source: str) -> T:
    for path, new in settings.items():
        value = changed(value, path, new, source)
    return value


def _converted(old: Any, new: Any, where: str) -> Any:
    if isinstance(new, list):
        new = tuple(new)
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if isinstance(old, tuple) and old and isinstance(new, tuple):
        return tuple(_converted(old[0], item, where) for item in new)
    if old is not None and new is not None and type(old) is not type(new):
        raise ScoreError(f"{where} = {new!r} must be of type {type(old).__name__}, like {old!r}")
    return new


def _methods(entry: Any, where: str) -> list[Method]:
    """One method, or with `values` one per value of its swept setting."""
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise ScoreError(f"{where} must be a table with a name, got {entry!r}")
    entry = {"label": entry["name"], "method": entry["name"], **entry}
    swept, values = entry.pop("swept", None), entry.pop("values", None)
    if (swept is None) != (values is None):
        raise ScoreError(f"{where} {entry['name']}: a sweep needs both swept = SETTING and values = [...]")
    _check_keys(Method, entry, f"{where} {entry['name']}", extra=("swept", "values"))
    stem = Method(**_with_tuples(entry))
    if values is None:
        return [stem]
    return [
        replace(
            stem,
            name=f"{stem.name}_{value:g}".replace(".", "p").replace("-", "m").replace("+", ""),
            label=f"{stem.label}, {value:g}",
            settings={**stem.settings, swept: value},
            sweep=stem.name,
            sweep_value=float(value),
        )
        for value in values
    ]


def _with_tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _check_keys(
    cls: type, given: Any, where: str, required: tuple[str, ...] = (), extra: tuple[str, ...] = ()
) -> None:
    known = [f.name for f in fields(cls)]
    for key in given:
        if key not in known:
            raise unknown_choice(f"{where}: key", key, [*known, *extra])
    if missing := [key for key in required if key not in given]:
        raise ScoreError(f"{where}: {', '.join(missing)} missing")


def _check(experiment: Experiment, source: str) -> None:
    for task in experiment.tasks:
        if task not in task_names():
            raise unknown_choice(f"{source}: task", task, task_names())
    for task in experiment.task_settings:
        if task not in experiment.tasks:
            raise unknown_choice(f"{source}: [task_settings]", task, experiment.tasks)
    for kind, names in (
        ("tasks", experiment.tasks),
        ("robots", experiment.robots),
        ("training_seeds", experiment.training_seeds),
        ("method", tuple(method.name for method in experiment.methods)),
    ):
        if not names or len(set(names)) != len(names):
            raise ScoreError(f"{source}: {kind} must be a list of different entries, got {list(names)}")
    for number in (*experiment.robots, *experiment.training_seeds):
        if not isinstance(number, int) or isinstance(number, bool):
            raise ScoreError(f"{source}: {number!r} is no seed; robots and training_seeds are whole numbers")
    for key in ("stochastic", "support"):
        for name in getattr(experiment.amounts, key):
            if name not in EVALUATIONS:
                raise unknown_choice(f"{source}: [evaluation] {key}", name, EVALUATIONS)
    if min(experiment.amounts.twin_episodes, experiment.amounts.proxy_episodes) < 1:
        raise ScoreError(f"{source}: [evaluation] needs at least one episode")
    for method in experiment.methods:
        if not NAME.fullmatch(method.name):
            raise ScoreError(f"{source}: method name {method.name!r} may hold small letters, digits and _ only")
        if method.name in REFERENCE_POLICIES:
            raise ScoreError(f"{source}: {method.name} is always evaluated; it is no method of its own")
        if method.role not in ROLES:
            raise unknown_choice(f"{source}: role of {method.name}", method.role, ROLES)
        share = method.twin_calibration
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ScoreError(f"{source}: twin_calibration of {method.name} = {share!r} must be a share, 0 to 1")
        for kind, some, known in (
            ("task", method.tasks, experiment.tasks),
            ("robot", method.robots, experiment.robots),
        ):
            for one in some:
                if one not in known:
                    raise unknown_choice(f"{source}: {kind} of {method.name}", one, known)
    for task in experiment.tasks:
        recipe = experiment.recipe_of(task)
        if not recipe.real_to_sim:
            raise ScoreError(f"{source}: recipe {task} needs demonstrations from elsewhere; it has no robots to draw")
        for method in experiment.methods:
            steer_settings(recipe, method, 0)
