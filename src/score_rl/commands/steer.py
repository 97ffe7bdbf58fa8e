"""`score steer`: PPO on the latent of a frozen base policy, in the twin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from score_rl.base.policy import load_policy
from score_rl.chunks import check_fit
from score_rl.commands.common import (
    Flat,
    check_world_exists,
    console,
    dataset_root,
    open_run,
    open_world,
    world_files,
)
from score_rl.contracts import FlowPolicy
from score_rl.demonstrations.dataset import load_dataset
from score_rl.demonstrations.windows import Windows
from score_rl.foundation.errors import ScoreError
from score_rl.foundation.files import read_json
from score_rl.recipes.settings import SteerSettings
from score_rl.steering.score import Stage, steer


@dataclass(frozen=True)
class Steer:
    """Learn to choose the latent of a frozen base policy, by PPO on sparse rewards in simulation.

    OUT/steering becomes a bundle that means something only together with this base policy. Iteration 0 is the
    base policy exactly. An interrupted run resumes from its checkpoint.
    """

    settings: Flat[SteerSettings]
    """Where and how to learn."""
    policy: Path = Path("runs/base")
    """Bundle of the base policy, from `score pretrain`."""
    out: Path = Path("runs/steering")
    """Run directory to write."""
    dataset: Path | None = None
    """Demonstrations, for the optional prior on real observations (--learner.prior-kl-coefficient)."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> Path:
        """The run directory."""
        if len(self.settings.worlds) != len(self.settings.control_steps) or not self.settings.worlds:
            raise ScoreError(
                f"steering needs one budget per world: got worlds {self.settings.worlds} and "
                f"control_steps {self.settings.control_steps}"
            )
        for world in self.settings.worlds:
            check_world_exists(self.settings.task, world)
        base = load_policy(self.policy)
        inputs = {"policy": Path(self.policy)} | world_files(*self.settings.worlds)
        if self.dataset is not None:
            inputs["dataset"] = dataset_root(self.dataset)
        stages = [
            Stage(
                open_world(self.settings.task, world, self.settings.num_envs, nan_dump_dir=Path(self.out) / "nan"), n
            )
            for world, n in zip(self.settings.worlds, self.settings.control_steps)
        ]
        for stage in stages:
            check_fit(base.spec, stage.world.spec, self.settings.learner.execute_steps)
        seeds = {"training": self.settings.learner.seed}
        run = open_run(self.out, "steer", self.settings, inputs, self.overwrite, seeds)
        if run.finished:
            return self.out
        torch.set_num_threads(self.settings.threads)
        real = real_observations(base, inputs["dataset"]) if self.dataset is not None else None
        steer(base, stages, self.settings.learner, run, real_observations=real)
        for stage in stages:
            stage.world.close()
        summary = read_json(run.path("run.json"))["summary"]
        rate = summary["control_steps"] / max(summary["wall_s"], 1e-9)
        console.print(
            f"  {summary['control_steps']:,} control steps in {summary['wall_s']:.0f} s ({rate:,.0f} a second)",
            highlight=False,
        )
        return self.out


def real_observations(policy: FlowPolicy, dataset: Path) -> Mapping[str, Tensor]:
    """All windows {key: (m, history, d)} of a dataset that the policy would read."""
    spec = policy.spec
    return Windows(load_dataset(dataset), tuple(spec.observation), spec.history, spec.horizon).all().observation
