"""`score steer`: PPO on the latent of a frozen base policy, in the twin; and the methods it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, show_result
from score_rl.core import ranks
from score_rl.core.terminal import say
from score_rl.pipeline import stages
from score_rl.tasks.settings import SteerSettings


@dataclass(frozen=True)
class Steer:
    """Learn to choose the latent of a frozen base policy, by PPO on sparse rewards in simulation.

    OUT/steering becomes a folder that means something only together with this base policy. Before the first update
    every decision's latent is N(0, I), as the base policy's. An interrupted run resumes from its checkpoint.
    `torchrun --nproc-per-node N -m score_rl.cli steer ...` learns in N processes of --num-envs environments each.
    Other methods (--method) change what is learned and nothing else: docs/methods.
    """

    settings: Flat[SteerSettings]
    """Where and how to learn."""
    policy: str = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    out: Path = Path("runs/steering")
    """Run directory to write."""
    dataset: tuple[Path, ...] = ()
    """Demonstrations, datasets of one robot, for bc_regularized and for --learner.start.demonstrations."""
    start: Path | None = None
    """Where score starts instead of at the base policy: a run directory of `score ticket` or of `score steer` (of
    another method: the latents of its successes are cloned)."""
    overwrite: bool = False
    """Replace what is there."""
    wandb: str = ""
    """Project of Weights & Biases to log to, beside TensorBoard (needs score-rl[wandb]); WANDB_MODE=offline keeps it
    here."""

    def run(self) -> None:
        """Steer, and say how fast."""
        how = {"dataset": self.dataset or None, "start": self.start, "overwrite": self.overwrite, "notify": say}
        how["wandb"] = self.wandb
        steered = stages.steer(self.settings, self.policy, self.out, **how)
        if ranks.rank() == 0:
            show_result(steered)
