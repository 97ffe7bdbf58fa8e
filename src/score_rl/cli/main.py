"""`score`: the command line, generated from the frozen dataclass of every command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich.console import Console

from score_rl.cli.audit import Audit, AuditSettings
from score_rl.cli.benchmark import Benchmark
from score_rl.cli.bundle import Bundle
from score_rl.cli.calibrate import Calibrate
from score_rl.cli.collect import Collect
from score_rl.cli.demo import Demo
from score_rl.cli.doctor import Doctor
from score_rl.cli.evaluate import Evaluate
from score_rl.cli.export import Export
from score_rl.cli.info import Info
from score_rl.cli.pretrain import Pretrain
from score_rl.cli.rehearse import Rehearse
from score_rl.cli.report import Report
from score_rl.cli.robot import Robot
from score_rl.cli.run import Run
from score_rl.cli.serve import Serve
from score_rl.cli.steer import Steer
from score_rl.cli.support import Support, fewer
from score_rl.cli.tasks import Tasks
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.report.page import ReportConfig
from score_rl.tasks.recipes import get_recipe

DESCRIPTION = """Improve a policy trained on real demonstrations by reinforcement learning in simulation, without
leaving the demonstrations' support.

The loop is collect, pretrain, calibrate, steer, evaluate, report; `score demo` runs all of it. Every stage takes
files and leaves a run directory with its settings, command, versions, seeds and metrics. What was interrupted
resumes, what is finished is reused, and nothing is replaced without --overwrite.

`--recipe NAME` says where the defaults of every command come from: pinch_cube (unless told otherwise),
adroit_door or debug. `score tasks` lists what there is."""

DEFAULT_RECIPE = "pinch_cube"


def commands(recipe_name: str) -> dict[str, Any]:
    """Command name -> the command with the recipe's settings as its defaults."""
    recipe = get_recipe(recipe_name)
    return {
        "tasks": Tasks(),
        "collect": Collect(recipe.collect),
        "pretrain": Pretrain(recipe.pretrain),
        "calibrate": Calibrate(recipe.calibrate),
        "steer": Steer(recipe.steer),
        "evaluate": Evaluate(recipe.evaluate),
        "support": Support(tyro.MISSING, fewer(recipe.evaluate)),
        "report": Report(ReportConfig(evaluations=())),
        "demo": Demo(recipe),
        "audit": Audit(AuditSettings(task=recipe.evaluate.task)),
        "benchmark": Benchmark(tyro.MISSING),
        "bundle": Bundle(task=recipe.evaluate.task),
        "info": Info(),
        "export": Export(),
        "serve": Serve(),
        "robot": Robot(),
        "run": Run(),
        "rehearse": Rehearse(),
        "doctor": Doctor(),
    }


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments ask for. Raises ScoreError for an unknown command or recipe."""
    recipe_name, rest = take_recipe(arguments)
    choices = commands(recipe_name)
    name = next((word for word in rest if not word.startswith("-")), None)
    if name is not None and name not in choices:
        raise unknown_choice("command", name, choices)
    union: Any = None
    for name, default in choices.items():
        command = Annotated[type(default), tyro.conf.subcommand(name, default=default)]
        union = command if union is None else union | command
    return tyro.cli(
        union, prog="score", description=DESCRIPTION, args=list(rest), config=(tyro.conf.FlagCreatePairsOff,)
    )


def take_recipe(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """(name, other arguments) of `--recipe NAME` or `--recipe=NAME`, wherever it stands."""
    name, rest, words = DEFAULT_RECIPE, [], iter(arguments)
    for word in words:
        if word == "--recipe":
            name = next(words, "")
        elif word.startswith("--recipe="):
            name = word.removeprefix("--recipe=")
        else:
            rest.append(word)
    return name, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error that the user can mend is one message and exit status 2."""
    try:
        parse(sys.argv[1:] if arguments is None else arguments).run()
    except ScoreError as error:
        Console(stderr=True).print(
            f"[bold red]error:[/bold red] {error}", markup=True, highlight=False, soft_wrap=True
        )
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; the same command resumes.", highlight=False)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
