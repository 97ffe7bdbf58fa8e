"""`score demo`: the whole loop, real -> sim -> real, with everything it leaves in one folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.cli.common import show_result
from score_rl.core.extras import require
from score_rl.core.outputs import check_file, resolve_output
from score_rl.core.ranges import Count, Seed
from score_rl.core.terminal import say, show
from score_rl.pipeline.loop import run_loop
from score_rl.report.page import is_report, loop_report, write_report
from score_rl.report.tables import results_table
from score_rl.tasks.recipe import Recipe


@dataclass(frozen=True)
class Demo:
    """The whole loop on one robot: collect, pretrain, calibrate, steer, evaluate, report.

    Every stage leaves its run directory in OUT; what is finished there is reused, what was interrupted resumes.
    """

    recipe: tyro.conf.Suppress[Recipe]
    """What is run; chosen by --task and --recipe."""
    hardware: str = ""
    """The simulated robot that stands for the real one, in demonstrations and verdict: a shipped domain (proxy,
    proxy_physx, hardware) or the path of a TOML file; by default the recipe's."""
    robot_seed: Seed = 0
    """Which robot: demonstrations, calibration and verdict are all of this one."""
    seed: Seed = 0
    """Seed of demonstrations, pretraining and steering."""
    twin_episodes: Count = 100
    """Episodes of every policy in the twin; in the proxy it is the recipe's number."""
    out: Path = Path("runs/demo")
    """Folder to write."""
    overwrite: bool = False
    """Start over, replacing what is there."""

    def run(self) -> None:
        """Run the loop, write the report and show the table."""
        require("matplotlib", "the report")
        start, page = time.monotonic(), Path(self.out) / "report.html"
        check_file(resolve_output(page), True, is_report, "report")
        loop = run_loop(
            self.recipe,
            self.out,
            hardware=self.hardware,
            robot_seed=self.robot_seed,
            seed=self.seed,
            twin_episodes=self.twin_episodes,
            overwrite=self.overwrite,
            notify=say,
            done=show_result,
        )
        for remark in write_report(page, loop_report(loop), overwrite=True):  # made of what the stages left or reused
            say(remark, style="yellow")
        say(f"report: {page}")
        show("", results_table([*loop.twin.records, *loop.proxy.records]), "")
        say(f"The whole loop took {(time.monotonic() - start) / 60:.1f} minutes.")
