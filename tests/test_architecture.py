"""The floors of the house (see ARCHITECTURE.md): imports only go down, columns stay apart, no cycles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import score_rl

PACKAGE = Path(score_rl.__file__).parent

FLOORS: dict[str, int] = {
    "contracts": 0,
    "core": 1,
    "sim": 2,
    "data": 2,
    "policies": 3,
    "steering": 3,
    "robots": 3,
    "real2sim": 3,
    "evaluation": 4,
    "tasks": 5,
    "deploy": 5,
    "pipeline": 6,
    "report": 7,
    "cli": 8,
}
"""Room (top-level module or folder of the package) -> floor."""

SIMULATORS = {"mujoco", "sapien", "gymnasium", "gymnasium_robotics"}


def module_name(path: Path) -> str:
    """Dotted name below the package, e.g. "foundation.errors"; a folder's __init__ has the folder's name."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def absolute(node: ast.ImportFrom, importer: Path) -> str:
    """The full dotted name that `from X import ...` refers to, relative imports resolved."""
    if node.level == 0:
        return node.module or ""
    folder = ("score_rl", *importer.relative_to(PACKAGE).parts[:-1])
    base = folder[: len(folder) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imported_names(source: str, importer: Path) -> set[str]:
    """Every dotted name that a file imports, wherever in the file the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node, importer)
            names |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return names


def own_modules(names: set[str]) -> set[str]:
    """The package's modules among dotted names."""
    return {name.removeprefix("score_rl.") for name in names} & set(MODULES)


GRAPH = {name: own_modules(imported_names(path.read_text(), path)) for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_go_down(module: str) -> None:
    upward = {
        target
        for target in GRAPH[module]
        if room(target) != room(module) and FLOORS[room(target)] >= FLOORS[room(module)]
    }
    assert not upward, f"{module} (floor {FLOORS[room(module)]}) imports {sorted(upward)}"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if room(m) in {"steering", "policies", "data"}))
def test_learning_knows_no_simulator(module: str) -> None:
    assert not {target for target in GRAPH[module] if room(target) in {"sim", "robots", "tasks"}}
    outside = {name.split(".")[0] for name in imported_names(MODULES[module].read_text(), MODULES[module])}
    assert not outside & SIMULATORS


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of a graph as a closed path, or an empty list."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :] + [node]
        if node in finished:
            return []
        for target in sorted(graph.get(node, ())):
            if cycle := visit(target, [*path, node]):
                return cycle
        finished.add(node)
        return []

    return next((cycle for node in sorted(graph) if (cycle := visit(node, []))), [])


def test_no_import_cycles() -> None:
    assert find_cycle(GRAPH) == []


def test_the_checks_can_fail() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    inside = PACKAGE / "policies" / "policy.py"
    source = "from . import train\nfrom ..sim import world\ndef f():\n    import score_rl.steering.ppo\n"
    assert imported_names(source, inside) == {
        "score_rl.policies",
        "score_rl.policies.train",
        "score_rl.sim",
        "score_rl.sim.world",
        "score_rl.steering.ppo",
    }
