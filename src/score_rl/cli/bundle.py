"""`score bundle`: one folder for the robot's computer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.cli.common import console, content_hash, robot_limits
from score_rl.cli.evaluate import steering_bundle
from score_rl.core.errors import ScoreError
from score_rl.core.runs import read_run
from score_rl.deploy.bundle.bundle import create_bundle, default_steps
from score_rl.evaluation.run import read_evaluation
from score_rl.policies.flow.policy import load_policy
from score_rl.steering.methods import load_trained


@dataclass(frozen=True)
class Bundle:
    """Pack a base policy, its steering and everything that the robot's computer must know into one folder.

    The folder lists the SHA-256 of every file; whoever loads it checks them all. `score info OUT` prints what is
    inside.
    """

    task: str = "pinch_cube"
    """What the policy is for; it says which robot's limits go along."""
    policy: Path = Path("runs/base")
    """Base policy, from `score pretrain`."""
    steering: Path | None = None
    """Run directory of `score steer`, or its bundle; without it the base policy is packed alone."""
    evaluation: tuple[Path, ...] = ()
    """Run directories of `score evaluate` of these very policies, whose records go along."""
    out: Path = Path("runs/bundle")
    """Folder to write."""
    execute_steps: int | None = None
    """Control steps to run of every chunk; default: as in the steering's training, else half a chunk."""
    overwrite: bool = False
    """Replace the bundle that is there."""

    def run(self) -> Path:
        """The bundle's folder."""
        steering = steering_bundle(self.steering) if self.steering is not None else None
        base = load_policy(self.policy)
        trained = load_trained(steering, base) if steering is not None else None
        usual = default_steps(base.spec, trained)
        inputs = {"policy": content_hash(self.policy)}
        if steering is not None:
            inputs["steering"] = content_hash(steering)
        records = [record for folder in self.evaluation for record in self._records(folder, inputs, usual)]
        limits = robot_limits(self.task)
        bundle = create_bundle(
            self.out, self.policy, steering, limits, self.task, records, self.execute_steps, self.overwrite
        )
        size = sum(entry["size"] for entry in bundle.manifest.files.values())
        console.print(
            f"[bold]bundle[/bold]: {self.out}, {size / 1e6:.1f} MB, {bundle.digest}", highlight=False, soft_wrap=True
        )
        return self.out

    def _records(self, folder: Path, inputs: Mapping[str, str], usual_steps: int) -> list[dict[str, Any]]:
        """Records of an evaluation, after making sure that it was one of these policies, run as they will be."""
        run, config = read_run(folder)
        if run["stage"] != "evaluate" or run["status"] != "finished":
            raise ScoreError(f"{folder} is no finished evaluation (stage {run['stage']}, {run['status']})")
        settings = config["settings"]
        if settings["task"] != self.task:
            raise ScoreError(f"{folder} evaluated the task {settings['task']}, not {self.task}")
        ran, will_run = settings["execute_steps"] or usual_steps, self.execute_steps or usual_steps
        if ran != will_run:
            raise ScoreError(f"{folder} ran {ran} steps of every chunk, the bundle is to run {will_run}")
        for role, digest in inputs.items():
            if (seen := config["inputs"].get(role)) not in (None, digest):
                raise ScoreError(f"{folder} evaluated another {role} ({seen[:12]}, this one is {digest[:12]})")
        return read_evaluation(folder)
