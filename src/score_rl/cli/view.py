"""`score view`: a task, demonstrations or policies, live in the browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from score_rl.cli.common import Flat
from score_rl.core.errors import ScoreError
from score_rl.core.extras import optional
from score_rl.core.ranges import Count, Seed
from score_rl.core.terminal import say
from score_rl.report.view.settings import ViewConfig

if TYPE_CHECKING:
    from score_rl.report.view.shows import Dialled, Show


@dataclass(frozen=True)
class View:
    """Look at a task, at demonstrations, or at policies at work, in the browser.

    Without --policy and --dataset: the task's scene as its episodes begin. With --dataset: demonstrations of the
    task, frame by frame. With --policy: the base policy, z = 0, --steering and a policy whose latent you set with
    sliders, side by side on the same episodes. Forces on the hand and point clouds are shown where the world has
    them.
    """

    task: str = "pinch_cube"
    """Task whose scene is shown."""
    world: str = "twin"
    """World to act in: a domain (twin, proxy, PATH.toml), or another one that MuJoCo simulates."""
    robot_seed: Seed = 0
    """Which robot of the domain."""
    policy: str | None = None
    """Base policy to watch: a folder of `score pretrain`, an installed name, or package.module:factory."""
    steering: Path | None = None
    """Run directory of `score steer`, to watch beside it."""
    execute_steps: Count | None = None
    """Control steps run of every chunk; by default as in steering, or half the horizon without."""
    dataset: Path | None = None
    """Demonstrations to play instead: a LeRobot dataset, or a run directory of `score collect`."""
    page: Flat[ViewConfig] = field(default_factory=ViewConfig)
    """Where the page is."""

    def run(self) -> None:
        """Serve until interrupted."""
        if self.policy is not None and self.dataset is not None:
            raise ScoreError("score view shows either a policy or demonstrations, not both")
        if self.steering is not None and self.policy is None:
            raise ScoreError("a steering means something together with its base policy only: give it (--policy)")
        with optional("the viewer"):
            from score_rl.report.view.page import Page

        show, dialled = self._show()
        page = Page(show, self.page, dialled)
        say(f"view: {page.url}, until Ctrl-C")
        try:
            page.play()
        finally:
            page.close()

    def _show(self) -> tuple[Show, Dialled | None]:
        """What is asked for, and the decider that sliders set. Raises ScoreError."""
        from score_rl.report.view import opening

        where = (self.task, self.world, self.robot_seed)
        if self.policy is not None:
            return opening.open_policies(self.policy, self.steering, *where, self.page.seed, self.execute_steps)
        if self.dataset is not None:
            return opening.open_demonstrations(self.dataset, *where), None
        return opening.open_task(*where, self.page.seed), None
