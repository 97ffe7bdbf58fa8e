"""What recording demonstrations can be told, and for which tasks; read without loading a simulator."""

from __future__ import annotations

from dataclasses import dataclass, field

from score_rl.core import plugins
from score_rl.core.ranges import Count, Seed
from score_rl.sim.task import TASKS
from score_rl.tasks.people.habits import Habits


@dataclass(frozen=True)
class CollectConfig:
    """Which demonstrations to record."""

    episodes: Count = 250
    """Demonstrations, failures included."""
    seed: Seed = 0
    """Seed of the episodes (objects, poses, the person's choices)."""
    habits: Habits = field(default_factory=Habits)
    """How the person behaves."""


def routine_names() -> tuple[str, ...]:
    """Installed tasks that have a demonstrator."""
    return plugins.names(TASKS, "demonstrator")
