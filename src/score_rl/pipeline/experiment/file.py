"""An experiment's TOML file, read strictly: what makes no sense is an error before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.records import parse, read_toml
from score_rl.pipeline.experiment.definition import (
    BASE,
    EVALUATIONS,
    REFERENCE_POLICIES,
    REFERENCES,
    ROLES,
    Amounts,
    Audit,
    Experiment,
    Method,
)
from score_rl.pipeline.experiment.settings import changed_all, check_keys, field_names, read_field
from score_rl.sim.domain import load_domain
from score_rl.sim.task import get_task
from score_rl.steering.methods import METHODS
from score_rl.tasks.recipe import task_names

NAME = re.compile(r"[a-z0-9_]+")
MAX_METHODS = 1000
"""Methods that a sweep may stand for."""
TABLES = {"method": "methods", "evaluation": "amounts", "audit": "audits"}
"""Key of the file -> field of `Experiment`, where they differ."""


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file and check all of it.

    Raises ScoreError that names the file and the key: unknown keys, tasks, roles and settings, repeated names,
    values of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise ScoreError(f"experiment file {path} does not exist")
    return parse_experiment(read_toml(path), str(path))


def parse_experiment(table: Mapping[str, Any], source: str) -> Experiment:
    """An experiment from plain data (the layout of its file). Raises ScoreError; see `load_experiment`."""
    table = {"name": Path(source).stem, "description": "", "training_seeds": [0], **table}
    sweep = parse(Mapping[str, Any], table.pop("sweep", {}), source, key="sweep")
    known = [key for key in field_names(Experiment) if key not in TABLES.values()]
    check_keys([*known, *TABLES, "sweep"], table, source, required=("tasks", "robots", "method"))
    entries, asked = (parse(list[Mapping[str, Any]], table.pop(k, []), source, key=k) for k in ("method", "audit"))
    methods = [m for entry in entries for m in _methods(entry, sweep, f"{source} [[method]]")]
    audits = [_record(Audit, {"panel": {}, **entry}, f"{source} [[audit]]") for entry in asked]
    amounts = parse(Mapping[str, Any], table.pop("evaluation", {}), source, key="evaluation")
    amounts = changed_all(Amounts(), amounts, f"{source} [evaluation]")
    experiment = _record(Experiment, {**table, "methods": ()}, source)
    experiment = replace(experiment, methods=tuple(methods), amounts=amounts, audits=tuple(audits))
    _check_names(experiment, source)
    _check_methods(experiment, source)
    _check_audits(experiment, source)
    for task in experiment.tasks:
        _check_recipe(experiment, task, source)
    return experiment


def _record(cls: type, entry: Any, where: str, hidden: tuple[str, ...] = ()) -> Any:
    """A dataclass with a name from a table; tables become the dataclasses that its fields are."""
    if not isinstance(entry, Mapping) or "name" not in entry:
        raise ScoreError(f"{where} must be a table with a name, got {entry!r}")
    where = f"{where} {entry['name']}"
    required = tuple(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
    check_keys([name for name in field_names(cls) if name not in hidden], entry, where, required)
    kinds, values = get_type_hints(cls, include_extras=True), {}
    for name, given in entry.items():
        nested = is_dataclass(kinds[name]) and isinstance(given, Mapping)
        values[name] = (
            changed_all(kinds[name](), given, where) if nested else read_field(kinds[name], given, where, name)
        )
    return cls(**values)


def _methods(entry: Any, common: Mapping[str, Any], where: str) -> Iterator[Method]:
    """One method, or one per combination of its swept settings and those of the whole file."""
    entry = {"label": entry["name"], "method": entry["name"], **entry} if "name" in entry else dict(entry)
    swept = {**common, **parse(Mapping[str, Any], entry.pop("sweep", {}), where, key="sweep")}
    stem: Method = _record(Method, entry, where, hidden=("sweep_value",))
    for path, values in swept.items():
        if not isinstance(values, list) or not values:
            raise ScoreError(f"{where} {stem.name}: sweep of {path} must be a list of values, got {values!r}")
    if not swept:
        yield stem
        return
    if (count := math.prod(len(values) for values in swept.values())) > MAX_METHODS:
        raise ScoreError(f"{where} {stem.name}: the sweep stands for {count} methods; {MAX_METHODS} are the most")
    for values in product(*swept.values()):
        settings = dict(zip(swept, values))
        everywhere = [value for path, value in settings.items() if path in common]
        start = f"{stem.start}_{_slug(everywhere)}" if stem.start and everywhere else stem.start
        yield replace(_point(stem, settings), start=start)


def _point(stem: Method, settings: Mapping[str, Any]) -> Method:
    """A method with the values of a sweep's point, which its name and label say."""
    texts = _texts(settings.values())
    (first, *others) = settings.values()
    return replace(
        stem,
        name=f"{stem.name}_{_slug(settings.values())}",
        label=", ".join([stem.label, *texts]),
        settings={**stem.settings, **settings},
        sweep=stem.name,
        sweep_value=float(first) if _is_number(first) and not others else ", ".join(texts),
    )


def _texts(values: Iterable[Any]) -> list[str]:
    return [f"{value:g}" if _is_number(value) else str(value) for value in values]


def _slug(values: Iterable[Any]) -> str:
    """Swept values as the end of a method's name."""
    slug = "_".join(_texts(values)).replace(".", "p").replace("-", "m").replace("+", "").lower()
    return re.sub(r"[^a-z0-9_]+", "_", slug).strip("_")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_names(experiment: Experiment, source: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*", experiment.name):
        raise ScoreError(f"{source}: name is {experiment.name!r}, expected the name of a folder")
    _check_some(experiment.tasks, task_names(), f"{source}: task")
    for key in ("task_settings", "datasets"):
        _check_some(getattr(experiment, key), experiment.tasks, f"{source}: [{key}]")
    names: Mapping[str, Sequence[Any]] = {
        "tasks": experiment.tasks,
        "robots": experiment.robots,
        "training_seeds": experiment.training_seeds,
        "method": [method.name for method in experiment.methods],
        "[evaluation] worlds": experiment.amounts.worlds,
    }
    for kind, entries in names.items():
        _check_different(entries, f"{source}: {kind}", empty=False)
    for key in ("worlds", "stochastic", "support"):
        _check_some(getattr(experiment.amounts, key), EVALUATIONS, f"{source}: [evaluation] {key}")


def _check_methods(experiment: Experiment, source: str) -> None:
    for method in experiment.methods:
        if not NAME.fullmatch(method.name):
            raise ScoreError(f"{source}: method name {method.name!r} may hold small letters, digits and _ only")
        if method.name in (*REFERENCE_POLICIES, REFERENCES.name):
            raise ScoreError(f"{source}: {method.name} is always evaluated; it is no method of its own")
        _check_some([method.method], [*METHODS, BASE], f"method of {method.name}")
        _check_some([method.role], ROLES, f"{source}: role of {method.name}")
        _check_twin(method, experiment.tasks, source)
        _check_start(method, experiment, source)
        _check_different(method.tasks, f"{source}: tasks of {method.name}")
        _check_different(method.robots, f"{source}: robots of {method.name}")
        _check_some(method.tasks, experiment.tasks, f"{source}: task of {method.name}")
        _check_some(method.robots, experiment.robots, f"{source}: robot of {method.name}")


def _check_twin(method: Method, tasks: Sequence[str], source: str) -> None:
    """The twin to train in can be made, and there is but one."""
    if not 0 <= method.twin_calibration <= 1:
        share = method.twin_calibration
        raise ScoreError(f"{source}: twin_calibration of {method.name} = {share!r} must be a share, 0 to 1")
    if method.domain and method.twin_calibration < 1:
        raise ScoreError(f"{source}: domain and twin_calibration of {method.name}: one twin, not both")
    for task in (method.tasks or tasks) if method.domain else ():
        load_domain(method.domain, get_task(task).parameters)


def _check_start(method: Method, experiment: Experiment, source: str) -> None:
    """What a method starts from is trained before it, wherever it is."""
    if not method.start:
        return
    before = [other for other in experiment.methods[: experiment.methods.index(method)] if other.trains]
    _check_some([method.start], [other.name for other in before], f"{source}: start of {method.name}")
    (start,) = (other for other in before if other.name == method.start)
    if missing := [cell for cell in experiment.cells(method) if cell not in experiment.cells(start)]:
        task, robot = missing[0]
        raise ScoreError(f"{source}: {method.name} starts from {start.name}, not run on {task}, robot {robot}")


def _check_audits(experiment: Experiment, source: str) -> None:
    _check_different([audit.name for audit in experiment.audits], f"{source}: audit")
    methods = {name for method in experiment.methods for name in (method.name, method.sweep) if name}
    for audit in experiment.audits:
        if not NAME.fullmatch(audit.name):
            raise ScoreError(f"{source}: audit name {audit.name!r} may hold small letters, digits and _ only")
        _check_some(audit.methods, [*methods, REFERENCES.name], f"{source}: method of audit {audit.name}")
        _check_some(audit.tasks, experiment.tasks, f"{source}: task of audit {audit.name}")
        _check_some(audit.robots, experiment.robots, f"{source}: robot of audit {audit.name}")


def _check_recipe(experiment: Experiment, task: str, source: str) -> None:
    """Every setting exists, and there are demonstrations to begin with."""
    recipes = [experiment.recipe_of(task, method, 0) for method in (REFERENCES, *experiment.methods)]
    given = task in experiment.datasets
    if recipes[0].real_to_sim == given:
        records = "records its own demonstrations" if given else "needs demonstrations from elsewhere"
        raise ScoreError(f"{source}: {task} {records}; see [datasets]")
    if given and any(audit.tasks == () or task in audit.tasks for audit in experiment.audits):
        raise ScoreError(f"{source}: {task} has no calibrated twin to audit in")


def _check_different(entries: Sequence[Any], where: str, empty: bool = True) -> None:
    if len(set(entries)) != len(entries) or not (entries or empty):
        raise ScoreError(f"{where} must be a list of different entries, got {list(entries)}")


def _check_some(some: Any, known: Any, where: str) -> None:
    for one in some:
        if one not in known:
            raise unknown_choice(where, one, known)
