"""`score pretrain`: the base policy, by conditional flow matching."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, console, dataset_root, open_run
from score_rl.data.dataset import load_dataset
from score_rl.policies.flow.representation import check_representation
from score_rl.policies.flow.train import check_config, policy_spec, pretrain
from score_rl.tasks.settings import PretrainSettings


@dataclass(frozen=True)
class Pretrain:
    """Train the base policy on demonstrations; OUT becomes a policy bundle (safetensors + JSON).

    Any LeRobotDataset v3.0 with low-dimensional observations will do. The log holds held-out flow loss and
    action error. An interrupted training resumes from its checkpoint.
    """

    settings: Flat[PretrainSettings]
    """How to train."""
    dataset: Path = Path("runs/demonstrations")
    """Demonstrations: a LeRobot dataset, or the run directory of `score collect`."""
    out: Path = Path("runs/base")
    """Run directory to write."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> Path:
        """The bundle's folder, which is the run directory."""
        root = dataset_root(self.dataset)
        demonstrations = load_dataset(root)
        check_config(self.settings.training)
        spec = policy_spec(demonstrations, self.settings.training)
        check_representation(spec, self.settings.training.policy.representation)
        seeds = {"training": self.settings.training.seed}
        run = open_run(self.out, "pretrain", self.settings, {"dataset": root}, self.overwrite, seeds)
        if not run.finished:
            pretrain(demonstrations, self.settings.training, run)
            figures = ", ".join(
                f"{name} {value:.4g}" for name, value in run.summary.items() if isinstance(value, float)
            )
            console.print(f"  {figures}", highlight=False)
        return self.out
