"""Draw every task as a strip of frames: an episode of the careful demonstrator in the twin that succeeds.

    python docs/strips.py            # all tasks with a demonstrator
    python docs/strips.py pick_card  # some

Writes docs/images/tasks/NAME.jpg, which `render.py` shows in the documents. Needs OpenGL.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from score_rl.contracts import StepResult
from score_rl.core.files import write_bytes
from score_rl.report.video import render_strip
from score_rl.sim.world import SimulatedWorld, make_world
from score_rl.tasks.people.collect import demonstrate
from score_rl.tasks.people.habits import careful
from score_rl.tasks.people.settings import routine_names

STRIPS = Path(__file__).parent / "images" / "tasks"
SEEDS = range(4)
FRAMES = 6


class Filmed:
    """A world that remembers where everything was."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.path: list[np.ndarray] = []
        """(n, nq) before every step."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        self.path.append(self.world.qpos())
        return self.world.step(action)


def frames(task: str) -> np.ndarray:
    """(FRAMES, nq) of the first episode that succeeds, evenly spread over it."""
    world = Filmed(make_world(task, "twin", len(SEEDS)))
    done = demonstrate(world, careful(), SEEDS)
    world.close()
    for row, demonstration in enumerate(done):
        if demonstration.extra["success"]:
            steps = np.linspace(0, len(demonstration.frames["action"]) - 1, FRAMES).round().astype(int)
            return np.stack([world.path[step][row] for step in steps])
    raise SystemExit(f"the careful demonstrator of {task} does not succeed in episodes {SEEDS}")


def main(tasks: Sequence[str]) -> None:
    """Draw the strips of these tasks, or of all."""
    STRIPS.mkdir(parents=True, exist_ok=True)
    for task in tasks or routine_names():
        strip, failure = render_strip(task, frames(task))
        if failure:
            raise SystemExit(f"{task} was not drawn: {failure}")
        write_bytes(STRIPS / f"{task}.jpg", strip)


if __name__ == "__main__":
    main(sys.argv[1:])
