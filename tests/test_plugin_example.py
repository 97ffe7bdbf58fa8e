"""`examples/plugin`, installed into an environment of its own: its names are on the command line at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from score_rl.core.records import read_json
from score_rl.evaluation.run import read_evaluation

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment that has everything of this one, and the plugin."""
    folder = tmp_path_factory.mktemp("plugin")
    here = sysconfig.get_path("purelib")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    shutil.copytree(EXAMPLES / "plugin", folder / "source")  # building leaves files beside the sources
    python = folder / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", folder / "source"]
    subprocess.run(install, check=True)
    return python


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own, with one thread: the work is too small to share out."""
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, arguments)), cwd=cwd, env=one, capture_output=True, text=True)


def outputs(python: Path, folder: Path, *lines: str) -> list[str]:
    """What commands of `score` print, run one after the other in one process of that environment."""
    code = """
import contextlib, io, json, os, sys
import mujoco  # refuses to be imported with the next line, which leaves out videos
os.environ["MUJOCO_GL"] = "none_such"
from score_rl.cli.main import main
found = []
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(line.split()) == 0, line
    found.append(out.getvalue())
print(json.dumps(found))
"""
    done = run(python, "-c", code, *lines, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_installed_is_on_the_command_line(python: Path, tmp_path: Path) -> None:
    small, given = "--task reach --recipe debug", "--policy hesitant?speed=0.9"
    tasks, *_, info = outputs(
        python,
        tmp_path,
        "tasks",
        f"steer {small} {given} --world reach?distance_m=0.5 --out steering",
        f"evaluate {small} {given} --steering steering --out evaluation",
        f"support hesitant?speed=0.9 {small} --steering steering --out support",
        f"bundle --task reach {given} --steering steering --evaluation evaluation --out bundle",
        "info bundle",
    )
    assert all(word in tasks for word in ("reach", "hesitant", "stow_cube"))
    records = {record["policy"]: record for record in read_evaluation(tmp_path / "evaluation")}
    assert list(records) == ["base", "base_z0", "score_stoch", "score_det"]
    assert (records["base"]["task"], records["base"]["world"], records["base"]["n"]) == ("reach", "reach", 4)
    assert all("support_violation_rate" in record for record in read_evaluation(tmp_path / "support"))
    assert read_json(tmp_path / "bundle" / "base" / "reference.json")["uri"] == "hesitant?speed=0.9"
    assert "velocity" in info and "hesitant" in info


@pytest.mark.slow
def test_a_task_of_ones_own_goes_through_the_whole_loop(python: Path, tmp_path: Path) -> None:
    outputs(python, tmp_path, "demo --task stow_cube --recipe debug --twin-episodes 4 --out demo")
    records = read_evaluation(tmp_path / "demo" / "evaluation" / "proxy")
    assert [(record["policy"], record["task"]) for record in records] == [
        (policy, "stow_cube") for policy in ("base", "base_z0", "score_stoch", "score_det")
    ]
    spec = read_json(tmp_path / "demo" / "base" / "policy.json")
    assert "drawer_pose" in spec["spec"]["interface"]["observation"]
    assert (tmp_path / "demo" / "report.html").exists()


def test_steering_takes_ten_lines_of_python(python: Path, tmp_path: Path) -> None:
    source = (EXAMPLES / "steer.py").read_text()
    body = source.split('steered policy."""\n')[1].split("\n\n")[0]
    assert len(body.splitlines()) <= 10
    done = run(python, EXAMPLES / "steer.py", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rates = eval(done.stdout.splitlines()[-1])
    assert rates["base"] < 0.5 and rates["score_det"] > 0.9
