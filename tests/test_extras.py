"""Without the libraries of the extras everything but what needs them works, and what needs them says which extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from score_rl.core import extras
from score_rl.core.errors import ScoreError

BLOCKED = tuple(extras.EXTRAS)
PACKAGES = [
    "contracts",
    "core",
    "data",
    "policies",
    "steering",
    "evaluation",
    "pipeline.stages",
    "report.page",
    "cli.main",
]

PRELUDE = f"""
import importlib, importlib.abc, pkgutil, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without_extras(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_everything_that_simulates_nothing_imports_without_extras():
    found = without_extras(
        f"for name in {PACKAGES!r}:\n"
        "    package = importlib.import_module(f'score_rl.{name}')\n"
        "    for _, inside, _ in pkgutil.walk_packages(getattr(package, '__path__', []), f'score_rl.{name}.'):\n"
        "        importlib.import_module(inside)\n"
        f"print(sorted(set(sys.modules) & set({BLOCKED!r})))"
    )
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr


@pytest.mark.slow
def test_the_command_line_works_and_names_the_extra():
    found = without_extras(
        "from score_rl.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    print('help', end.code)\n"
        "print('tasks', main(['tasks']))\n"
        "print('collect', main(['--recipe', 'debug', 'collect', '--out', 'nowhere']))\n"
        "print('report', main(['report', '--evaluations', 'nowhere', '--out', 'nowhere']))\n"
        "print('view', main(['view']))\n"
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert {"help 0", "tasks 0", "collect 2", "report 2", "view 2"} <= set(lines)
    said = " ".join(found.stderr.split())
    assert "the viewer needs viser, which is not installed: pip install 'score-rl[viz]'" in said
    assert "pip install 'score-rl[sim]'" in found.stderr and "pip install 'score-rl[report]'" in found.stderr
    rows = " ".join(found.stdout.split())
    assert "needs gymnasium, which is not installed: pip install 'score-rl[gym]'" in rows


def test_a_missing_library_is_missed_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    expected = r"a scene needs mujoco, which is not installed: pip install 'score-rl\[sim\]'"
    with pytest.raises(ScoreError, match=expected), extras.optional("a scene"):
        import mujoco  # noqa: F401
    assert not extras.installed("mujoco")
    with pytest.raises(ScoreError, match=r"score-rl\[sim\]"):
        extras.require("mujoco", "a scene")


def test_a_variable_that_mujoco_refuses_is_named():
    said = "invalid value for environment variable MUJOCO_GL: foo"
    with pytest.raises(ScoreError, match=f"a task cannot load mujoco: {said}"), extras.optional("a task"):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="a bug"), extras.optional("a task"):
        raise RuntimeError("a bug")


def test_other_missing_modules_are_no_extra():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), extras.optional("a scene"):
        import no_such_module  # noqa: F401
