"""The documents: their commands run, their code compiles, their links and tables are true."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from score_rl.cli import main as cli
from score_rl.evaluation.results import Episode, Labels, compare, summarize
from score_rl.evaluation.run import read_evaluation
from score_rl.sim.domain import parse_domain
from score_rl.sim.task import get_task
from score_rl.steering.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "score_rl"
FOLDERS = (ROOT / "docs", ROOT / "benchmarks")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *(path for folder in FOLDERS for path in sorted(folder.rglob("*.md")))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
LINES_OF_CODE = re.compile(r"([a-z0-9_/]+\.py): (\w+(?:\.\w+)*)")


def blocks(document: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return [text for kind, text in BLOCK.findall(document.read_text()) if kind == language]


def command_lines(document: Path) -> list[list[str]]:
    """Words of every line of the shell blocks, comments left out."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


ALL_COMMANDS = [(document.name, words) for document in DOCUMENTS for words in command_lines(document)]


def test_there_are_commands_to_check() -> None:
    assert sum(words[0] == "score" for _, words in ALL_COMMANDS) > 15
    assert {name for name, _ in ALL_COMMANDS} >= {"README.md", "quickstart.md"}


@pytest.mark.parametrize(("document", "words"), ALL_COMMANDS, ids=lambda value: " ".join(value)[:60])
def test_commands_parse(document: str, words: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if words[0] == "score":
        cli.parse(words[1:])
    elif words[0] == "make":
        assert words[1] in targets
    else:
        assert words[0] in ("python", "pip", "tensorboard", ".")


@pytest.mark.slow
def test_the_quickstart_runs_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    importlib.import_module("mujoco")  # refuses to be imported with the next line, which is for those who draw
    monkeypatch.setenv("MUJOCO_GL", "none_such")  # a machine without OpenGL must get by
    stages = (ROOT / "docs" / "quickstart.md").read_text().split("## Stage by stage")[1].split("\n## ")[0]
    commands = [line for _, block in BLOCK.findall(stages) for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        assert cli.main(["--recipe", "debug", *shlex.split(command)[1:]]) == 0, command
    policies = [record["policy"] for record in read_evaluation(tmp_path / "runs" / "evaluation")]
    assert policies == ["base", "base_z0", "score_stoch", "score_det"]
    assert "Videos are skipped on this machine (no OpenGL" in (tmp_path / "runs" / "report.html").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_compiles_and_its_imports_exist(document: Path) -> None:
    for source in blocks(document, "python"):
        exec(compile(source, document.name, "exec"), {})


def test_the_example_domain_is_valid() -> None:
    (example,) = blocks(ROOT / "docs" / "domains.md", "toml")
    domain = parse_domain(tomllib.loads(example), parameters=get_task("pinch_cube").parameters)
    assert domain.name == "my_robot" and domain.protective_stop.force_n == 30
    assert set(domain.robot) == {"hand.joint_bias_rad", "robot.delay_s"}
    assert set(domain.episode) == {"object.friction"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if not link.startswith("http")]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_every_method_has_its_page() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} - {"README"}
    assert pages == set(METHODS)


METHOD_PAGES = [ROOT / "docs" / "method.md", *sorted((ROOT / "docs" / "methods").glob("*.md"))]


@pytest.mark.parametrize("page", METHOD_PAGES, ids=lambda path: path.name)
def test_the_method_pages_name_code_that_exists(page: Path) -> None:
    named = LINES_OF_CODE.findall(page.read_text())
    assert len(named) >= (10 if page.name == "method.md" else 1)
    for file, symbol in named:
        source = (PACKAGE / file).read_text()
        for part in symbol.split("."):
            assert re.search(rf"(def|class) {part}\b", source), f"{file} has no {symbol}"


def test_every_field_of_a_record_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    episode = Episode(0, True, True, 1, 1, False, False, False, 1.0, 1.0, 1.0, 0.0)
    record = summarize(Labels("t", "m", "p", "w"), [episode], {"commit": "", "command": "", "machine": ""})
    compare(record, [episode], {"base": [episode]})
    documented = set(re.findall(r"`(\w+)`", text))
    documented |= {"steps_to_success" + name for name in documented if name.startswith("_")}
    assert {name.replace("_base_", "_P_") for name in record} <= documented
    assert set(vars(episode)) <= documented


@pytest.mark.slow
def test_tables_are_those_of_the_result_files() -> None:
    script = ROOT / "docs" / "render.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
