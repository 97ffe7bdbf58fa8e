"""`score tasks`: what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from score_rl.cli.common import GYMNASIUM_TASKS
from score_rl.sim.domain import load_domain, shipped_domains
from score_rl.sim.task import get_task, task_names
from score_rl.tasks.recipes import RECIPES, get_recipe


@dataclass(frozen=True)
class Tasks:
    """List the tasks, the worlds and the recipes."""

    def run(self) -> None:
        """Print the three tables."""
        console = Console()
        tasks = _table("task", "worlds", "what it is")
        for task in map(get_task, task_names()):
            tasks.add_row(task.name, f"{', '.join(shipped_domains())}, PATH.toml", task.description)
        for name, factory in GYMNASIUM_TASKS.items():
            tasks.add_row(name, "gymnasium", (factory.__doc__ or "").splitlines()[0])
        console.print(tasks, "")
        worlds = _table("world", "physics step", "what it is")
        for name in shipped_domains():
            domain = load_domain(name)
            stop = domain.protective_stop.force_n
            worlds.add_row(
                name,
                f"{1000 * domain.physics.timestep_s:.3g} ms",
                f"{len(domain.robot)} systematic errors per robot, {len(domain.episode)} quantities per episode; "
                + (f"protective stop at {stop:g} N" if stop else "no protective stop"),
            )
        console.print(worlds, "")
        recipes = _table("recipe", "what it is")
        for name in RECIPES:
            recipes.add_row(name, get_recipe(name).description)
        console.print(recipes)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column)
    return table
