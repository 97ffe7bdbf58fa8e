"""Names that resolve through entry points: what a user installs is known here without an edit in this package.

Four groups, each `name = "package.module:object"` in the `pyproject.toml` of whoever provides it:

    score_rl.tasks      a package with the modules `task` (TASK), `demonstrator` (ROUTINE) and `recipe` (RECIPES)
    score_rl.worlds     a factory (num_envs: int, **options) -> contracts.World
    score_rl.policies   a factory (**options) -> contracts.FlowPolicy
    score_rl.robots     a factory (**options) -> deploy.drivers.protocol.RobotDriver
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from score_rl.core.errors import ScoreError, unknown_choice


def names(group: str, part: str | None = None) -> tuple[str, ...]:
    """Installed names of a group, sorted; with `part`, only packages that have a module of that name."""
    found = {entry.name: entry for entry in entry_points(group=group)}
    return tuple(sorted(name for name, entry in found.items() if part is None or _has(entry, part)))


def load(group: str, name: str, kind: str) -> Any:
    """The object of that name. Raises ScoreError that lists the choices, or where it cannot be imported."""
    return _imported(lambda: find(group, name, kind).load(), f"{kind} {name!r}")


def load_part(group: str, name: str, part: str, kind: str) -> Any:
    """Module `part` of the package of that name; raises ScoreError that lists the packages that have it."""
    choices = names(group, part)
    if name not in choices:
        raise unknown_choice(kind, name, choices)
    value = find(group, name, kind).value
    return _imported(lambda: importlib.import_module(f"{value}.{part}"), f"{kind} {name!r} ({value}.{part})")


def find(group: str, name: str, kind: str) -> EntryPoint:
    """The entry point of that name; raises ScoreError that lists the choices."""
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        raise unknown_choice(kind, name, found)
    return found[name]


def _has(entry: EntryPoint, part: str) -> bool:
    try:
        return importlib.util.find_spec(f"{entry.value}.{part}") is not None
    except (ImportError, ValueError):
        return False


def _imported(load: Any, what: str) -> Any:
    try:
        return load()
    except (ImportError, AttributeError) as error:
        raise ScoreError(f"{what} cannot be loaded: {error}") from error
