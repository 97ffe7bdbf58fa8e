"""`score demo`: the whole loop, real -> sim -> real, with everything it leaves in one folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from score_rl.cli.calibrate import Calibrate
from score_rl.cli.collect import Collect
from score_rl.cli.common import console
from score_rl.cli.evaluate import Evaluate
from score_rl.cli.pretrain import Pretrain
from score_rl.cli.report import Report
from score_rl.cli.steer import Steer
from score_rl.core.errors import ScoreError
from score_rl.report.page import ReportConfig
from score_rl.report.tables import results_table
from score_rl.tasks.recipes import Recipe
from score_rl.tasks.settings import EvaluateSettings


@dataclass(frozen=True)
class Demo:
    """The whole loop on one robot: collect, pretrain, calibrate, steer, evaluate, report.

    Every stage leaves its run directory in OUT; what is finished there is reused, what was interrupted resumes.
    """

    recipe: tyro.conf.Suppress[Recipe]
    """What is run; chosen by `score --recipe NAME demo`."""
    robot_seed: int = 0
    """Which robot: demonstrations, calibration and verdict are all of this one."""
    seed: int = 0
    """Seed of demonstrations, pretraining and steering."""
    twin_episodes: int = 100
    """Episodes of every policy in the twin; in the proxy it is the recipe's number."""
    out: Path = Path("runs/demo")
    """Folder to write."""
    overwrite: bool = False
    """Start over, replacing what is there."""

    def run(self) -> Path:
        """The report's file."""
        start = time.monotonic()
        recipe, out, fresh = self._recipe(), Path(self.out), self.overwrite
        dataset = Collect(recipe.collect, out / "demonstrations", fresh).run()
        policy = Pretrain(recipe.pretrain, dataset, out / "base", fresh).run()
        twin = Calibrate(recipe.calibrate, dataset, out / "calibration", fresh).run()
        # In a loop, "twin" means the calibrated one.
        worlds = tuple(str(twin) if world == "twin" else world for world in recipe.steer.worlds)
        steering = Steer(replace(recipe.steer, worlds=worlds), policy, out / "steering", overwrite=fresh).run()
        evaluation = out / "evaluation"
        uncalibrated, calibrated = self._in_twin(recipe, recipe.calibrate.world), self._in_twin(recipe, str(twin))
        Evaluate(uncalibrated, policy, None, evaluation / "uncalibrated", fresh).run()
        records = Evaluate(calibrated, policy, steering, evaluation / "twin", fresh).run()
        records += Evaluate(recipe.evaluate, policy, steering, evaluation / "proxy", fresh).run()
        report = ReportConfig(
            evaluations=(evaluation / "twin", evaluation / "proxy"),
            steering=steering,
            calibration=twin.parent,
            uncalibrated=evaluation / "uncalibrated",
        )
        Report(report, out / "report.html", overwrite=True).run()
        Console().print("", results_table(records), "")
        console.print(f"The whole loop took {(time.monotonic() - start) / 60:.1f} minutes.", highlight=False)
        return out / "report.html"

    def _recipe(self) -> Recipe:
        """The recipe on this robot and with this seed throughout."""
        recipe, seed, robot = self.recipe, self.seed, self.robot_seed
        if not recipe.real_to_sim:
            raise ScoreError(f"recipe {recipe.name} needs demonstrations from elsewhere: run its stages one by one")
        demonstrations = replace(recipe.collect.demonstrations, seed=seed)
        return replace(
            recipe,
            collect=replace(recipe.collect, robot_seed=robot, demonstrations=demonstrations),
            pretrain=replace(recipe.pretrain, training=replace(recipe.pretrain.training, seed=seed)),
            steer=replace(recipe.steer, learner=replace(recipe.steer.learner, seed=seed)),
            evaluate=replace(recipe.evaluate, robot_seed=robot),
        )

    def _in_twin(self, recipe: Recipe, world: str) -> EvaluateSettings:
        amount = replace(
            recipe.evaluate.evaluation, episodes=min(self.twin_episodes, recipe.evaluate.evaluation.episodes)
        )
        steps = recipe.steer.learner.execute_steps
        return replace(recipe.evaluate, world=world, robot_seed=0, execute_steps=steps, evaluation=amount)
