"""The plugin's task (`examples/plugin`): spawn, a scene that stays still, both sides of every threshold, its size."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from task_states import at_rest

from score_rl.sim.state import JointState, SceneState
from score_rl.sim.task import Task
from score_rl.sim.testing import check_task

SOURCE = Path(__file__).parents[2] / "examples" / "plugin" / "src"
CUBE, CLOSED = (0.5, -0.1, 0.02), (0.56, 0.25, 0.01)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Read from its source: in this environment it is not installed."""
    monkeypatch.syspath_prepend(str(SOURCE))
    return importlib.import_module("score_example.stow_cube.task").TASK


def state(cube: list, drawer_y: list, opening: list, force: list) -> SceneState:
    """Cubes (n, 3), drawers at heights y (n,), open by (n,) m, fingers that press on the cube with (n,) N."""
    n = len(cube)
    drawer = np.tile(CLOSED, (n, 1))
    drawer[:, 1] = drawer_y
    begun = SceneState({"cube": at_rest(np.tile(CUBE, (n, 1)))})
    return SceneState(
        {"cube": at_rest(np.array(cube, float)), "drawer": at_rest(drawer)},
        {"drawer": JointState(np.array(opening, float), np.zeros(n))},
        {("fingers", "cube"): np.array(force, float)},
        begun=begun,
    )


def test_spawn_covers_its_range(task: Task) -> None:
    generator = np.random.default_rng(0)
    spawned = [task.spawn(generator, {"cube.size_scale": np.array([1.2])}) for _ in range(2000)]
    cubes, drawers = np.array([one["cube"] for one in spawned]), np.array([one["drawer"] for one in spawned])
    assert cubes[:, :2].min(0) == pytest.approx([0.40, -0.19], abs=2e-3)
    assert cubes[:, :2].max(0) == pytest.approx([0.64, -0.07], abs=2e-3)
    assert cubes[:, 2] == pytest.approx(0.024)
    assert drawers.min() == pytest.approx(0, abs=1e-4) and drawers.max() == pytest.approx(0.01, abs=1e-4)


def test_success_is_a_cube_between_the_drawers_walls_that_nobody_holds(task: Task) -> None:
    middle = np.array([0.56, 0.12, 0.03])  # of the drawer, open by 0.13
    inside = [(0, 0, 0), (0.064, 0, 0), (-0.064, 0, 0), (0, 0.074, 0), (0, -0.074, 0), (0, 0, 0.014), (0, 0, -0.019)]
    outside = [(0.066, 0, 0), (-0.066, 0, 0), (0, 0.076, 0), (0, -0.076, 0), (0, 0, 0.016), (0, 0, -0.021)]
    cubes = [middle + offset for offset in inside + outside] + [middle, middle]
    forces = [0.0] * (len(cubes) - 2) + [0.49, 0.51]
    reached = task.success(state(cubes, [0.12] * len(cubes), [0.13] * len(cubes), forces))
    assert reached.tolist() == [True] * len(inside) + [False] * len(outside) + [True, False]


def test_milestones_at_their_edges(task: Task) -> None:
    x, y, z = CUBE
    reached = state([(x, y, z), (x, y, z + 0.059), (x, y, z + 0.061)], [0.15] * 3, [0.0, 0.099, 0.101], [0.0] * 3)
    found = {name: (amount, condition(reached).tolist()) for name, (amount, condition) in task.milestones.items()}
    assert found == {"opened": (1.0, [False, False, True]), "lifted": (1.0, [False, False, True])}
    assert task.success_reward == 10.0 and task.horizon == 200


def test_it_keeps_what_a_task_promises(task: Task) -> None:
    check_task(task)


def test_the_whole_of_it_is_short() -> None:
    files = (SOURCE / "score_example" / "stow_cube").glob("*.py")
    assert sum(len(path.read_text().splitlines()) for path in files) < 250


def test_the_page_about_it_quotes_it() -> None:
    page = (SOURCE.parents[2] / "docs" / "add" / "task.md").read_text()
    source = "".join(path.read_text() for path in (SOURCE / "score_example" / "stow_cube").glob("*.py"))
    blocks = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(blocks) == 4 and all(block in source for block in blocks)
