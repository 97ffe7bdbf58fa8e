"""`score steer`: PPO on the latent of a frozen base policy, in the twin; and the methods it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.cli.common import Flat, say, show
from score_rl.core import ranks
from score_rl.pipeline import stages
from score_rl.tasks.settings import SteerSettings


@dataclass(frozen=True)
class Steer:
    """Learn to choose the latent of a frozen base policy, by PPO on sparse rewards in simulation.

    OUT/steering becomes a folder that means something only together with this base policy. Iteration 0 is the
    base policy exactly. An interrupted run resumes from its checkpoint. `torchrun --nproc-per-node N -m score_rl.cli
    steer ...` learns in N processes of --num-envs environments each. Other methods (--method) change what is
    learned and nothing else: docs/methods.
    """

    settings: Flat[SteerSettings]
    """Where and how to learn."""
    policy: str = "runs/base"
    """Base policy: a folder of `score pretrain`, an installed name, or package.module:factory."""
    out: Path = Path("runs/steering")
    """Run directory to write."""
    dataset: Path | None = None
    """Demonstrations, for bc_regularized and for the optional prior on real observations
    (--learner.prior-kl-coefficient)."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Steer, and say how fast."""
        how = {"dataset": self.dataset, "overwrite": self.overwrite, "notify": say}
        steered = stages.steer(self.settings, self.policy, self.out, **how)
        if ranks.rank() == 0:
            show(steered)
