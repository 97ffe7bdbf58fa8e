"""`score steer`: PPO on the latent of a frozen base policy, in the twin; and the methods it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from score_rl.cli.common import (
    Flat,
    check_world_exists,
    console,
    dataset_root,
    open_run,
    open_world,
    world_files,
)
from score_rl.contracts import FlowPolicy
from score_rl.core.chunks import check_fit
from score_rl.core.errors import ScoreError
from score_rl.core.files import read_json
from score_rl.data.dataset import load_dataset
from score_rl.data.windows import WindowBatch, Windows
from score_rl.policies.flow.policy import load_policy
from score_rl.steering.loop import Stage, steer, steering_spec
from score_rl.steering.method import find_method
from score_rl.steering.methods import METHODS
from score_rl.tasks.settings import SteerSettings


@dataclass(frozen=True)
class Steer:
    """Learn to choose the latent of a frozen base policy, by PPO on sparse rewards in simulation.

    OUT/steering becomes a bundle that means something only together with this base policy. Iteration 0 is the
    base policy exactly. An interrupted run resumes from its checkpoint. Other methods (--method) change what is
    learned and nothing else: docs/methods.
    """

    settings: Flat[SteerSettings]
    """Where and how to learn."""
    policy: Path = Path("runs/base")
    """Bundle of the base policy, from `score pretrain`."""
    out: Path = Path("runs/steering")
    """Run directory to write."""
    dataset: Path | None = None
    """Demonstrations, for bc_regularized and for the optional prior on real observations
    (--learner.prior-kl-coefficient)."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> Path:
        """The run directory."""
        method = find_method(self.settings.method, METHODS)
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
        spec = steering_spec(base, self.settings.learner, method, self.settings.options())
        method.check(base, spec, self.dataset is not None)
        seeds = {"training": self.settings.learner.seed}
        run = open_run(self.out, "steer", self.settings, inputs, self.overwrite, seeds)
        if run.finished:
            return self.out
        torch.set_num_threads(self.settings.threads)
        recorded = demonstrations(base, inputs["dataset"]) if self.dataset is not None else None
        steer(
            base,
            stages,
            self.settings.learner,
            run,
            real_observations=recorded.observation if recorded is not None else None,
            method=method,
            options=spec.options,
            demonstrations=recorded,
        )
        for stage in stages:
            stage.world.close()
        summary = read_json(run.path("run.json"))["summary"]
        rate = summary["control_steps"] / max(summary["wall_s"], 1e-9)
        console.print(
            f"  {summary['control_steps']:,} control steps in {summary['wall_s']:.0f} s ({rate:,.0f} a second)",
            highlight=False,
        )
        return self.out


def demonstrations(policy: FlowPolicy, dataset: Path) -> WindowBatch:
    """All windows of a dataset as the policy would read them, and the chunks executed there."""
    spec = policy.spec
    return Windows(load_dataset(dataset), tuple(spec.observation), spec.history, spec.horizon).all()
