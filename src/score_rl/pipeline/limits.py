"""What may be sent to the robot of a world, and what that robot shows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from score_rl.contracts import ArraySpec, WorldSpec
from score_rl.deploy.bundle.spec import RobotLimits, franka_leap_limits, world_limits
from score_rl.sim.open import check_world, is_domain, open_world
from score_rl.sim.task import get_task


def robot_limits(
    task: str, world: str, spec: WorldSpec | None = None, views: Mapping[str, ArraySpec] | None = None
) -> RobotLimits:
    """Limits of the task's robot where the world is a domain; else what the world's specification says.

    spec: of the world, which is opened where it is None. views: that a policy asks a domain's robot for.
    Raises ScoreError for an unknown task or world.
    """
    check_world(world, task)
    if is_domain(world):
        found = get_task(task)
        return franka_leap_limits(found.robot, tuple(found.observed), views)
    if spec is None:
        with closing(open_world(world, 1)) as opened:
            spec = opened.spec
    return world_limits(spec)
