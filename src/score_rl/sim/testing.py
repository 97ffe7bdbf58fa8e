"""Conformance kit of tasks: run it on your own before you demonstrate anything.

    from score_rl.sim.testing import check_task
    check_task(TASK)

It checks what `score_rl.sim.task.Task` promises, and raises `ContractViolation` at the first promise that is broken,
saying what was expected and what came. `core.testing` has the kits of policies and worlds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from score_rl.core.seeding import rng
from score_rl.core.testing import expect
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.robot import CONTROL_RATE_HZ
from score_rl.sim.task import Task
from score_rl.sim.world import SimulatedWorld

STILL = 1e-3
"""What nobody touches may move by this much: m, or rad of a hinge ..."""
SETTLED_S, SETTLED = 1.0, 5e-3
"""... behind the first second, in which soft contacts give way by up to this much."""


def check_task(task: Task, domain: Domain | None = None, episodes: int = 4, still_s: float = 10.0) -> None:
    """Check a task in a domain (default: the shipped twin), in as many episodes.

    Rewards and times; spawns, which put every free body somewhere, alike for equal generators; success and
    milestones, which are (n,) bool, false where nothing has been done yet, and change nothing; and a scene that
    stays still for `still_s` seconds while the robot holds. Raises ContractViolation, and ScoreError where the scene
    lacks what the task names.
    """
    _check_settings(task)
    world = SimulatedWorld(task, domain or load_domain("twin"), episodes, threads=1)
    for seed in range(episodes):
        _check_spawn(task, world.model, seed)
    world.reset(range(episodes))
    _check_conditions(task, world, "when an episode begins")
    _check_still(world, still_s)
    _check_conditions(task, world, f"after {still_s:g} s in which nothing was touched")
    world.close()


def _check_settings(task: Task) -> None:
    expect(task.horizon >= 1, f"horizon is {task.horizon}, expected at least one control step")
    expect(1 <= task.hold_steps <= task.horizon, f"hold_steps is {task.hold_steps}, expected 1 to {task.horizon}")
    amounts = {"success_reward": task.success_reward, **{name: paid for name, (paid, _) in task.milestones.items()}}
    for name, amount in amounts.items():
        expect(np.isfinite(amount) and amount > 0, f"{name} pays {amount}, expected a positive reward")


def _check_spawn(task: Task, model: mujoco.MjModel, seed: int) -> None:
    """Everything that is free is put somewhere, as the generator says, within the joints' limits."""
    nominal = task.parameters.nominal()
    first, again = (task.spawn(rng("check_task", seed), nominal) for _ in range(2))
    expect(
        first.keys() == again.keys() and all(np.array_equal(first[name], again[name]) for name in first),
        "spawn differs between two generators of the same state: draw everything from the one that is given",
    )
    joints = _Joints.of(model)
    for name in joints.free:
        expect(name in first, f"spawn puts the free body '{name}' nowhere")
        pose = np.asarray(first[name])
        good = pose.shape == (7,) and bool(np.isfinite(pose).all()) and abs(np.linalg.norm(pose[3:]) - 1) < 1e-6
        expect(good, f"spawn gives '{name}' {pose}, expected a pose (7,): xyz in m, a unit quaternion wxyz")
    for name in joints.limits.keys() & first.keys():
        (low, high), value = joints.limits[name], first[name]
        expect(
            bool(low <= value <= high), f"spawn puts the joint '{name}' at {value}, its limits are {low} to {high}"
        )


@dataclass(frozen=True)
class _Joints:
    """Of everything that is not the robot."""

    free: tuple[str, ...]
    """Free bodies."""
    limits: Mapping[str, tuple[float, float]]
    """Hinges and slides."""

    @staticmethod
    def of(model: mujoco.MjModel) -> _Joints:
        free, limits = [], {}
        for k in range(model.njnt):
            if model.jnt_type[k] == mujoco.mjtJoint.mjJNT_FREE:
                free.append(model.body(model.jnt_bodyid[k]).name)
            else:
                low, high = model.jnt_range[k] if model.jnt_limited[k] else (-np.inf, np.inf)
                limits[model.joint(k).name] = (float(low), float(high))
        return _Joints(tuple(free), limits)


def _check_conditions(task: Task, world: SimulatedWorld, when: str) -> None:
    """Shapes, and that neither success nor a milestone holds; and that asking changes nothing."""
    conditions = {"success": task.success, **{name: condition for name, (_, condition) in task.milestones.items()}}
    before, n = world.qpos(), world.spec.num_envs
    for name, condition in conditions.items():
        holds = np.asarray(condition(world.state))
        good = holds.shape == (n,) and holds.dtype == bool
        expect(good, f"{name} is {holds.dtype} {holds.shape}, expected bool ({n},)")
        expect(not holds.any(), f"{name} holds {when}, in {holds.sum()} of {n} episodes")
        expect(np.array_equal(world.qpos(), before), f"{name} changes the state that it reads")


def _check_still(world: SimulatedWorld, still_s: float) -> None:
    """Nothing moves while the robot holds its home."""
    for seconds, most in ((SETTLED_S, SETTLED), (still_s, STILL)):
        for name, moved in untouched(world, seconds).items():
            expect(moved < most, f"{name} moves by {moved:.2g} in {seconds:g} s although nothing touches it")


def untouched(world: SimulatedWorld, seconds: float) -> dict[str, float]:
    """How far everything goes at most from where it is now (`body NAME`: m; `joint NAME`: rad or m), in any episode,
    while the robot holds its home. Raises ContractViolation where the physics diverges."""
    substeps = world.task.physics(world.domain.physics).substeps(CONTROL_RATE_HZ)
    home = np.tile(world.robot.home, (world.spec.num_envs, substeps, 1))
    begun = _places(world)
    moved = dict.fromkeys(begun, 0.0)
    for _ in range(round(seconds * CONTROL_RATE_HZ)):
        diverged = world.engine.advance(home).diverged
        expect(not diverged.any(), "the physics diverges although nothing is touched")
        for name, place in _places(world).items():
            moved[name] = max(moved[name], float(np.abs(place - begun[name]).max()))
    return moved


def _places(world: SimulatedWorld) -> dict[str, np.ndarray]:
    """Objects (n, 3), and joints (n,) that are not the robot's."""
    state = world.state
    joints = [name for name in state.joints if name not in world.robot.joint_names]
    return {
        **{f"joint {name}": state.joint(name).position.copy() for name in joints},
        **{f"body {item.name}": state.body(item.name).position.copy() for item in world.task.objects},
    }
