"""`score pretrain`: the base policy, by conditional flow matching."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from score_rl.cli.common import Flat, show_result
from score_rl.core.terminal import say
from score_rl.pipeline import datasets, stages
from score_rl.tasks.settings import PretrainSettings


@dataclass(frozen=True)
class Pretrain:
    """Train the base policy on demonstrations; OUT becomes a policy's folder (safetensors + JSON).

    Any LeRobotDataset (v3.0 or v2.1) whose observations are arrays will do; `score check` looks at one first. The log
    holds held-out flow loss and action error. An interrupted training resumes from its checkpoint.
    """

    settings: Flat[PretrainSettings]
    """How to train."""
    dataset: tuple[Path, ...] = (Path("runs/demonstrations"),)
    """Demonstrations: LeRobot datasets of one robot, or run directories of `score collect`."""
    out: Path = Path("runs/base")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""
    wandb: str = ""
    """Project of Weights & Biases to log to, beside TensorBoard (needs score-rl[wandb]); WANDB_MODE=offline keeps it
    here."""
    own_task: Annotated[bool, tyro.conf.Suppress] = True
    """Whether the line names the task; otherwise the demonstrations may be of a task that nobody described."""

    def run(self) -> None:
        """Pretrain, and say how well."""
        changes: list[str] = []
        settings = self.settings if self.own_task else datasets.plain_settings(self.settings, changes.append)

        def tell(message: str) -> None:
            """What was changed is told once the stage has begun, so that an error stands alone."""
            while changes:
                say(changes.pop(0))
            say(message)

        how = {"overwrite": self.overwrite, "notify": tell, "wandb": self.wandb}
        show_result(stages.pretrain(settings, self.dataset, self.out, **how))
