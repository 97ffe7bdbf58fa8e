"""`score collect`: demonstrations of a scripted person, as a LeRobot dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import DATASET, Flat, check_world_exists, console, open_run, open_world, world_files
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.progress import progress
from score_rl.data.dataset import load_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.tasks.people.collect import collect, features, routine_names
from score_rl.tasks.settings import CollectSettings

ROBOT_TYPE = "franka_leap"


@dataclass(frozen=True)
class Collect:
    """Record demonstrations of a hurried, imperfect person into OUT/dataset (LeRobotDataset v3.0).

    Failures are kept, as in real recordings. An interrupted collection continues behind its last episode.
    """

    settings: Flat[CollectSettings]
    """What to record."""
    out: Path = Path("runs/demonstrations")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> Path:
        """The dataset's folder."""
        if self.settings.task not in routine_names():
            raise unknown_choice("task with a demonstrator", self.settings.task, routine_names())
        check_world_exists(self.settings.task, self.settings.world)
        if self.settings.num_envs < 1 or self.settings.demonstrations.episodes < 1:
            raise ScoreError("num_envs and episodes must be at least 1")
        seeds = {"robot": self.settings.robot_seed, "collect": self.settings.demonstrations.seed}
        run = open_run(self.out, "collect", self.settings, world_files(self.settings.world), self.overwrite, seeds)
        root = run.path(DATASET)
        if run.finished:
            return root
        world = open_world(
            self.settings.task, self.settings.world, self.settings.num_envs, self.settings.robot_seed, run.path("nan")
        )
        writer = DatasetWriter(root, round(world.spec.control_rate_hz), features(world), ROBOT_TYPE)
        with progress("collect", self.settings.demonstrations.episodes, done=writer.num_episodes) as advance:
            collect(world, self.settings.demonstrations, writer, advance)
        world.close()
        dataset = load_dataset(root)
        rate = float(dataset.extra["success"].mean())
        run.finish({"episodes": dataset.num_episodes, "frames": dataset.num_frames, "success_rate": rate})
        console.print(f"  {dataset.num_episodes} demonstrations, {dataset.num_frames} frames, {rate:.0%} succeed")
        return root
