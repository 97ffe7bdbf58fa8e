"""`score bundle`: one folder for the robot's computer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.core.ranges import Count
from score_rl.core.terminal import say
from score_rl.pipeline import deployment
from score_rl.report.stages import bundle_line


@dataclass(frozen=True)
class Bundle:
    """Pack a base policy, its steering and everything that the robot's computer must know into one folder.

    The folder lists the SHA-256 of every file; whoever loads it checks them all. A base policy that lives in no
    folder is referred to, with the fingerprint that it must have there. `score info OUT` prints what is inside.
    """

    task: str = "pinch_cube"
    """What the policy is for."""
    world: str = "proxy"
    """World of that task; with the task it says which robot's limits go along."""
    policy: str = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    steering: Path | None = None
    """Run directory of `score steer`; without it the base policy is packed alone."""
    evaluation: tuple[Path, ...] = ()
    """Run directories of `score evaluate` of these very policies, whose records go along."""
    out: Path = Path("runs/bundle")
    """Folder to write."""
    execute_steps: Count | None = None
    """Control steps to run of every chunk; default: as in the steering's training, else half a chunk."""
    overwrite: bool = False
    """Replace the bundle that is there."""

    def run(self) -> None:
        """Pack, and say what identifies the bundle."""
        packed = deployment.bundle(
            self.policy,
            self.out,
            task=self.task,
            world=self.world,
            steering=self.steering,
            evaluations=self.evaluation,
            execute_steps=self.execute_steps,
            overwrite=self.overwrite,
        )
        say(bundle_line(self.out, packed))
