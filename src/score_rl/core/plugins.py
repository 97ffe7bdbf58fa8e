"""Names that resolve through entry points: what a user installs is known here without an edit in this package.

Four groups, each `name = "package.module:object"` in the `pyproject.toml` of whoever provides it:

    score_rl.tasks      a package with the modules `recipe` (RECIPES), and, where the task has a simulated scene,
                        `task` (TASK) and `demonstrator` (ROUTINE)
    score_rl.worlds     a factory (num_envs: int, **options) -> contracts.World
    score_rl.policies   a factory (**options) -> contracts.FlowPolicy
    score_rl.robots     a factory (**options) -> deploy.drivers.protocol.RobotDriver

Factories are also named directly, as "package.module:factory"; either form takes options, as in "NAME?key=value&...".
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import SimpleNamespace
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.extras import optional
from score_rl.core.records import check, parse_json, shown

_TARGET = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")
FAILURES = (Exception, SystemExit)
"""Whatever somebody else's code may raise; one that ends the program must not end this one without a word."""


def names(group: str, part: str | None = None) -> tuple[str, ...]:
    """Installed names of a group, sorted; with `part`, only packages that have a module of that name.

    A package that cannot even be imported counts as having everything: whoever asks for it learns what is wrong.
    """
    return tuple(sorted(name for name, entry in _installed(group).items() if part is None or _has(entry, part)))


def load(group: str, name: str, kind: str) -> Any:
    """The object of that name. Raises ScoreError that lists the choices, or says why it cannot be imported."""
    entry = _find(group, name, kind)
    return _imported(entry.load, f"{kind} '{name}' ({_origin(entry)})")


def load_part(group: str, name: str, part: str, attribute: str, kind: str, expected: type) -> Any:
    """`attribute` of module `part` of the package of that name.

    Raises ScoreError for a name that is not installed or has no such module (listing those that have one), and for a
    plugin that cannot be imported or whose attribute is not of the type `expected`.
    """
    choices = names(group, part)
    if name not in choices:
        raise unknown_choice(kind, name, choices)
    entry = _installed(group)[name]
    what = f"{kind} '{name}' ({_origin(entry, part)})"
    module = _imported(lambda: importlib.import_module(f"{entry.value}.{part}"), what)
    value = getattr(module, attribute, None)
    if not isinstance(value, expected):
        found = "has none" if value is None else f"has {value!r}"
        raise ScoreError(f"{what} is broken: {attribute} must be a {expected.__name__}, but the module {found}")
    return value


def parse_uri(uri: str) -> tuple[str, dict[str, Any]]:
    """Target and options of "target?key=value&...". Values are JSON where they can be, else text.

    >>> parse_uri("package.module:make?depth=2&name=a&deep=true")
    ('package.module:make', {'depth': 2, 'name': 'a', 'deep': True})
    """
    target, _, query = uri.partition("?")
    return target, {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)}


def check_factory(group: str, uri: str, kind: str, given: Iterable[str] = ()) -> None:
    """Raise ScoreError unless `make` finds the factory of a URI and can call it; nothing is built."""
    target, options = parse_uri(uri)
    _check_options(_factory(group, target, kind), f"{kind} '{target}'", options, given)


def make(group: str, uri: str, kind: str, given: Mapping[str, Any], expected: type) -> Any:
    """What the factory of a URI returns: an installed NAME or package.module:factory, with options or without.

    given: arguments that the caller sets and the URI may not. Raises ScoreError where there is no such factory, for
    options that it does not take, where it fails, and where its result lacks a part of the protocol `expected`.
    """
    target, options = parse_uri(uri)
    what = f"{kind} '{target}'"
    made = call(_factory(group, target, kind), what, options, given)
    require(made, expected, what)
    return made


def call(factory: Callable[..., Any], what: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """What a factory returns. Raises ScoreError for what is no factory, options that it does not take or that are of
    other types than it says, and if it fails."""
    _require_callable(factory, what)
    _check_options(factory, what, options, given)
    typed = _typed(factory, what, options)
    try:
        return factory(**given, **typed)
    except ScoreError:
        raise
    except FAILURES as error:
        raise ScoreError(f"{what} cannot be made: {type(error).__name__}: {error}") from error


def require(made: Any, expected: type, what: str) -> None:
    """Raise ScoreError unless an object has every part of a protocol."""
    if isinstance(made, expected):
        return
    wanted = [*expected.__annotations__, *(name for name, part in vars(expected).items() if inspect.isfunction(part))]
    lacks = [name for name in wanted if not name.startswith("_") and not hasattr(made, name)]
    raise ScoreError(f"{what} is no {expected.__name__}: {type(made).__name__} has no {', '.join(lacks)}")


def _factory(group: str, target: str, kind: str) -> Callable[..., Any]:
    """The factory of an installed name or of package.module:factory."""
    module, colon, attribute = target.partition(":")
    if not colon:
        found = load(group, target, kind)
    elif not _TARGET.fullmatch(target):
        raise ScoreError(f"{kind} '{target}' is no package.module:factory")
    else:
        entry = EntryPoint(target, f"{module}:{attribute}", group)
        found = _imported(entry.load, f"{kind} '{target}'")
    _require_callable(found, f"{kind} '{target}'")
    return found


def _require_callable(found: Any, what: str) -> None:
    if not callable(found):
        raise ScoreError(f"{what} is no factory, but {shown(found)}")


def _check_options(factory: Callable[..., Any], what: str, options: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raise ScoreError unless a factory takes exactly these arguments: the caller's and the URI's."""
    given = tuple(given)
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # written in C: whoever calls it will see
        return
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    choices = [name for name in named if name not in given]
    for name in options:
        if name in given or not (anything or name in named):
            raise unknown_choice(f"option of {what}", name, choices)
    for name in given:
        if not (anything or name in named):
            raise ScoreError(f"{what} must take an argument {name}")
    for name in choices:
        if named[name].default is inspect.Parameter.empty and name not in options:
            raise ScoreError(f"{what} needs the option {name} (NAME?{name}=...)")


def _typed(factory: Callable[..., Any], what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the types of the factory's annotations, as far as those can be read. Raises ScoreError for one
    that has no such value: as a flag the text `False` would be as true as any other."""
    hints = _hints(factory.__init__ if inspect.isclass(factory) else factory)
    return {name: _fitting(hints.get(name, Any), value, f"{name} of {what}") for name, value in options.items()}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Argument -> annotation; without those that nobody can read, such as names that a type checker alone imports."""
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        with contextlib.suppress(Exception):  # whatever evaluating somebody else's text may raise
            one = SimpleNamespace(__annotations__={name: annotation})
            found |= get_type_hints(one, getattr(function, "__globals__", {}), include_extras=True)
    return found


def _fitting(kind: Any, value: Any, where: str) -> Any:
    """A value as an annotation wants it: text, or what it is JSON of. Raises ScoreError."""
    try:
        check(kind, value, where)
        return value
    except ScoreError:
        read = _value(value) if isinstance(value, str) else value
        for other in (read, tuple(read) if isinstance(read, list) else read, json.dumps(value)):
            with contextlib.suppress(ScoreError):
                check(kind, other, where)
                return other
        raise


def _value(text: str) -> Any:
    """A number, a flag or a list where the text is JSON of one, else the text itself."""
    try:
        return parse_json(text, "an option")
    except ScoreError:
        return text


def _installed(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _find(group: str, name: str, kind: str) -> EntryPoint:
    found = _installed(group)
    if name not in found:
        raise unknown_choice(kind, name, found)
    return found[name]


def _has(entry: EntryPoint, part: str) -> bool:
    try:
        return importlib.util.find_spec(f"{entry.value}.{part}") is not None
    except FAILURES:
        return True


def _origin(entry: EntryPoint, part: str = "") -> str:
    """Where a plugin comes from: its module, and the distribution that installed it."""
    module = f"{entry.value}.{part}" if part else entry.value
    return f"{module} of {entry.dist.name}" if entry.dist is not None else module


def _imported(load: Callable[[], Any], what: str) -> Any:
    try:
        with optional(what):
            return load()
    except ScoreError:
        raise
    except FAILURES as error:
        raise ScoreError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error
