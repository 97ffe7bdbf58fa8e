"""`score tasks`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.core.terminal import show
from score_rl.policies.open import POLICIES
from score_rl.report.tables import plain_table
from score_rl.sim import task as scenes
from score_rl.sim.domain import load_domain, shipped_domains
from score_rl.sim.open import WORLDS
from score_rl.tasks.people.settings import routine_names
from score_rl.tasks.recipe import get_recipe, recipe_names, task_names


@dataclass(frozen=True)
class Tasks:
    """List the tasks with their recipes, the worlds and the policies: shipped ones and those of installed plugins."""

    def run(self) -> None:
        """Print the tables."""
        tasks = plain_table("task", "recipes", "what it is")
        for name in task_names():
            tasks.add_row(name, *_or_error(lambda name=name: _task(name), 2))
        worlds = plain_table("world", "what it is")
        for name in shipped_domains():
            worlds.add_row(name, _domain(name))
        worlds.add_row("PATH.toml", "a domain of your own, see docs/domains.md")
        for name in plugins.names(WORLDS):
            worlds.add_row(name, *_or_error(lambda name=name: (_about(WORLDS, name, "world"),), 1))
        worlds.add_row("gymnasium:ENV_ID?success=KEY", "a registered Gymnasium environment, see docs/add/world.md")
        worlds.add_row("vecenv:package.module:factory?...", "a function of num_envs that returns an rsl_rl VecEnv")
        worlds.add_row("package.module:factory", "a function of num_envs that returns a World")
        policies = plain_table("policy", "what it is")
        policies.add_row("PATH", "a folder of `score pretrain`, or a bundle")
        for name in plugins.names(POLICIES):
            policies.add_row(name, *_or_error(lambda name=name: (_about(POLICIES, name, "policy"),), 1))
        policies.add_row("openpi://host:port", "a policy that another process serves, see docs/add/policy.md")
        policies.add_row("package.module:factory", "a function that returns a FlowPolicy")
        show(tasks, "", worlds, "", policies)


def _task(name: str) -> tuple[str, str]:
    """Recipes and description of a task."""
    about = scenes.get_task(name).description if name in scenes.task_names() else get_recipe(name).description
    return ", ".join(recipe_names(name)), about + ("" if name in routine_names() else " (demonstrations are given)")


def _domain(name: str) -> str:
    domain = load_domain(name)
    stop = domain.protective_stop.force_n
    return (
        f"{1000 * domain.physics.timestep_s:.3g} ms a physics step; {len(domain.robot)} systematic errors per robot, "
        f"{len(domain.episode)} quantities per episode; "
        + (f"protective stop at {stop:g} N" if stop else "no protective stop")
    )


def _about(group: str, name: str, kind: str) -> str:
    """First line of a factory's docstring."""
    return (plugins.load(group, name, kind).__doc__ or "").strip().partition("\n")[0]


def _or_error(cells: Callable[[], tuple[str, ...]], count: int) -> tuple[str | Text, ...]:
    """The cells of a row; of a plugin that is broken, what is wrong with it."""
    try:
        return cells()
    except ScoreError as error:
        return ("",) * (count - 1) + (Text(str(error), style="red"),)
