"""`score`: the command line, generated from the frozen dataclass of every command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, get_type_hints

import tyro

from score_rl.cli.audit import Audit
from score_rl.cli.benchmark import Benchmark
from score_rl.cli.bundle import Bundle
from score_rl.cli.calibrate import Calibrate
from score_rl.cli.check import Check
from score_rl.cli.collect import Collect
from score_rl.cli.demo import Demo
from score_rl.cli.doctor import Doctor
from score_rl.cli.evaluate import Evaluate
from score_rl.cli.export import Export
from score_rl.cli.info import Info
from score_rl.cli.pretrain import Pretrain
from score_rl.cli.ranges import registry
from score_rl.cli.rehearse import Rehearse
from score_rl.cli.repair import Repair
from score_rl.cli.report import Report
from score_rl.cli.robot import Robot
from score_rl.cli.run import Run
from score_rl.cli.serve import Serve
from score_rl.cli.steer import Steer
from score_rl.cli.support import Support, fewer
from score_rl.cli.tasks import Tasks
from score_rl.cli.ticket import Ticket
from score_rl.cli.view import View
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.records import check
from score_rl.core.terminal import say, visible
from score_rl.deploy.drivers.proxy import RobotProcessConfig
from score_rl.report.page import ReportConfig
from score_rl.sim.open import is_foreign
from score_rl.tasks.recipe import FULL, GENERIC, Recipe, get_recipe, task_names
from score_rl.tasks.settings import AuditSettings, ticket_settings

DESCRIPTION = """Improve a policy trained on real demonstrations by reinforcement learning in simulation, without
leaving the demonstrations' support.

The loop is collect, pretrain, calibrate, steer, evaluate, report; `score demo` runs all of it. Every stage takes
files and leaves a run directory with its settings, command, versions, seeds and metrics. What was interrupted
resumes, what is finished is reused, and nothing is replaced without --overwrite.

`--task NAME` selects the scene, the demonstrator and the defaults of every command (without it pinch_cube; `generic`
for a --world that is no domain); `--recipe NAME` another set of defaults of that task, such as debug: the same loop
in seconds; `--observation cloud` policies that see point clouds of objects, `--observation pose` their poses.
`score tasks` lists what there is."""

DEFAULT_TASK = "pinch_cube"


def stage_commands(recipe: Recipe) -> dict[str, Any]:
    """Command name -> the command with a recipe's settings as its defaults."""
    task, world = recipe.task, recipe.evaluate.world
    return {
        "collect": Collect(recipe.collect),
        "pretrain": Pretrain(recipe.pretrain),
        "calibrate": Calibrate(recipe.calibrate),
        "ticket": Ticket(ticket_settings(recipe.steer)),
        "steer": Steer(recipe.steer),
        "evaluate": Evaluate(recipe.evaluate),
        "support": Support(tyro.MISSING, fewer(recipe.evaluate)),
        "demo": Demo(recipe),
        "audit": Audit(AuditSettings(task=task)),
        "bundle": Bundle(task=task, world=world),
        "robot": Robot(RobotProcessConfig(task=task, observation=recipe.observation)),
        "view": View(task=task),
    }


def other_commands() -> dict[str, Any]:
    """Command name -> the commands that are the same for every task."""
    return {
        "tasks": Tasks(),
        "check": Check(tyro.MISSING),
        "repair": Repair(tyro.MISSING, tyro.MISSING),
        "report": Report(ReportConfig(evaluations=())),
        "benchmark": Benchmark(tyro.MISSING),
        "info": Info(),
        "export": Export(),
        "serve": Serve(),
        "run": Run(),
        "rehearse": Rehearse(),
        "doctor": Doctor(),
    }


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments ask for. Raises ScoreError for an unknown command, task or recipe."""
    task, rest = take_option("--task", arguments)
    recipe_name, rest = take_option("--recipe", rest)
    observation, rest = take_option("--observation", rest)
    recipe = get_recipe(task or default_task(rest), recipe_name or FULL, observation or "")
    stages, others = stage_commands(recipe), other_commands()
    stages["pretrain"] = replace(stages["pretrain"], own_task=task is not None)
    choices = stages | others
    name = next((word for word in rest if not word.startswith("-")), None)
    if name is not None and name not in choices:
        raise unknown_choice("command", name, choices)
    for option, value in (("--task", task), ("--observation", observation)):
        if name in others and value is not None:
            raise ScoreError(f"score {name} is the same for every task: it takes no {option}")
    chosen = f"--task {recipe.task} --recipe {recipe_name or FULL} --observation {recipe.observation}"
    defaults = f"Defaults are those of {chosen}; each can be another."
    union: Any = None
    for name, default in choices.items():
        about = inspect.getdoc(type(default)) + (f"\n\n{defaults}" if name in stages else "")
        command = Annotated[type(default), tyro.conf.subcommand(name, default=default, description=about)]
        union = command if union is None else union | command
    return tyro.cli(
        union,
        prog="score",
        description=DESCRIPTION,
        args=list(rest),
        config=(tyro.conf.FlagCreatePairsOff,),
        registry=registry(),
    )


def validate(command: Any) -> None:
    """Check the options of a command, before any work. Raises ScoreError that calls them as on the command line."""
    for name, hint in get_type_hints(type(command), include_extras=True).items():
        flat = any(getattr(each, "name", None) == "" for each in getattr(hint, "__metadata__", ()))
        check(hint, getattr(command, name), "" if flat else name)


def default_task(arguments: Sequence[str]) -> str:
    """The task where none is named: of a world that is no domain the one of its name, else the generic one."""
    worlds = [
        value or following
        for word, following in zip(arguments, [*arguments[1:], ""])
        for option, _, value in [word.partition("=")]
        if option in ("--world", "--worlds")
    ]
    if not worlds or not is_foreign(worlds[0]):
        return DEFAULT_TASK
    return worlds[0] if worlds[0] in task_names() else GENERIC


def take_option(option: str, arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """(value, other arguments) of `--option VALUE` or `--option=VALUE`, wherever it stands; None without it.

    Raises ScoreError where the value is missing.
    """
    value, rest, words = None, [], iter(arguments)
    for word in words:
        if word == option:
            value = next(words, "")
        elif word.startswith(f"{option}="):
            value = word.removeprefix(f"{option}=")
        else:
            rest.append(word)
            continue
        if not value or value.startswith("-"):
            raise ScoreError(f"{option} needs a name; `score tasks` lists them")
    return value, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error that the user can mend is one message and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that has no dashes gets question marks
    if arguments is None:
        sys.argv[0] = "score"  # as runs record it, however the interpreter was started
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        validate(command)
        command.run()
    except ScoreError as error:
        return _failed(str(error))
    except OSError as error:  # of the machine: no permission, a disk that is gone
        return _failed(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        return _failed(f"not enough memory for what was asked: {str(error).splitlines()[0]}")
    except KeyboardInterrupt:
        say("Interrupted; the same command resumes.")
        return 130
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Whether numpy or torch could not allocate what they were asked for."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def _failed(reason: str) -> int:
    say(f"error: {visible(reason)}", style="red")
    return 2


if __name__ == "__main__":
    sys.exit(main())
