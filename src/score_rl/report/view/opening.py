"""From the names on the command line to a `Show`."""

from __future__ import annotations

from pathlib import Path

from score_rl.data.dataset import load_dataset
from score_rl.deploy.bundle.bundle import default_steps
from score_rl.pipeline.inputs import dataset_root
from score_rl.pipeline.stages import open_parts
from score_rl.report.view.shows import Dialled, Live, Recorded, Still, drawable
from score_rl.sim.open import open_world
from score_rl.sim.task import get_task
from score_rl.steering.latent import LatentConfig
from score_rl.steering.policy import compulsory_deciders


def open_task(task: str, world: str, robot_seed: int, seed: int) -> Still:
    """A task's scene. Raises ScoreError."""
    return Still(open_world(world, 1, task, robot_seed), seed)


def open_demonstrations(dataset: Path, task: str, world: str, robot_seed: int) -> Recorded:
    """Demonstrations of a task in its scene. Raises ScoreError."""
    scene = drawable(open_world(world, 1, task, robot_seed))
    return Recorded(load_dataset(dataset_root(dataset)), get_task(task), scene)


def open_policies(
    policy: str,
    steering: Path | None,
    task: str,
    world: str,
    robot_seed: int,
    seed: int,
    execute_steps: int | None = None,
) -> tuple[Live, Dialled]:
    """The base policy, z = 0, the steering's mean and a latent that is set by hand, side by side; and the last of
    them. execute_steps: by default as in steering. Raises ScoreError."""
    base, steered, _ = open_parts(policy, steering)
    named = compulsory_deciders(base, steered)
    deciders = {name: decider for name, decider in named.items() if not name.endswith("_stoch")}
    dialled = Dialled(base, steered.spec.latent if steered is not None else LatentConfig())
    deciders["sliders"] = dialled
    opened = open_world(world, len(deciders), task, robot_seed)
    return Live(opened, deciders, execute_steps or default_steps(base.spec, steered), seed), dialled
