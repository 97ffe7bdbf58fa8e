"""Every engine against theory and against MuJoCo: what a verdict in another engine rests on.

    python benchmarks/engines.py

Physics are those of the shipped domains `proxy` and `proxy_physx`, and PhysX at a finer step. Blocks slide, balls
roll and drop, a pendulum swings, a robot waves, its hand hits the table, and a careful demonstrator grasps a cube and
holds it for ten seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import torch
import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim import rotations_numpy as rotations
from score_rl.sim.domain import Domain, Physics, ProtectiveStop, load_domain
from score_rl.sim.engines.engine import open_engine
from score_rl.sim.plant import PlantBuilder
from score_rl.sim.robot import HAND, OBJECT
from score_rl.sim.scene import joint_addresses
from score_rl.sim.strain import low_pass
from score_rl.sim.task import Task, TaskObject, get_task
from score_rl.sim.world import SimulatedWorld
from score_rl.tasks.people.collect import get_routine
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import careful

COLUMNS: dict[str, tuple[str, float | None]] = {
    "mujoco": ("proxy", None),
    "physx": ("proxy_physx", None),
    "physx, finer": ("proxy_physx", 0.0025),
}
"""Column of the table -> domain, and its physics step where it is another than the domain's, s."""
GRAVITY = 9.81
FRICTION = 0.4
SOFTNESS_S = 0.009
"""Time constant of contacts: the middle of the proxies' range."""
ROLLING_M, RADIUS_M = 0.002, 0.035
EDGE_M, ROD_M, BOB_KG = 0.04, 0.2, 0.1
SLOPES_RAD = {"steep": np.radians(30), "flat": np.radians(18)}
"""Steeper than friction bears (21.8 degrees), and not."""
PLACES_M = {"steep": 0.6, "flat": 1.6}
"""y of the slopes; x is 1.5, behind the robot's reach."""


@dataclass(frozen=True)
class Benchmark:
    """Engines against theory and each other."""

    episodes: int = 8
    """Grasps of a cube."""
    robot_seed: int = 105
    """Robot that grasps."""
    result: Path = Path("benchmarks/results/engines.json")
    """Result file to write."""


def add_objects(spec: mujoco.MjSpec) -> None:
    """A block, a ball, a pendulum without friction, and two slopes."""
    solid = {"contype": OBJECT, "conaffinity": HAND | OBJECT}
    kinds = mujoco.mjtGeom
    block = spec.worldbody.add_body(name="block", pos=[1.5, -0.6, EDGE_M / 2])
    block.add_freejoint(name="block")
    block.add_geom(name="block", type=kinds.mjGEOM_BOX, size=[EDGE_M / 2] * 3, mass=0.06, condim=4, **solid)
    ball = spec.worldbody.add_body(name="ball", pos=[1.5, -1.0, RADIUS_M])
    ball.add_freejoint(name="ball")
    ball.add_geom(
        name="ball", type=kinds.mjGEOM_SPHERE, size=[RADIUS_M, 0, 0], mass=0.08, condim=6,
        friction=[0.8, 0.005, ROLLING_M], **solid,
    )  # fmt: skip
    rod = spec.worldbody.add_body(name="pendulum", pos=[-1, 0, 1])
    rod.add_joint(name="swing", axis=[0, 1, 0])
    rod.add_geom(name="bob", type=kinds.mjGEOM_SPHERE, pos=[0, 0, -ROD_M], size=[0.02, 0, 0], mass=BOB_KG)
    for name, slope in SLOPES_RAD.items():
        spec.worldbody.add_geom(
            name=name, type=kinds.mjGEOM_BOX, pos=[1.5, PLACES_M[name], 0.5], size=[0.8, 0.2, 0.01],
            quat=[np.cos(slope / 2), 0, np.sin(slope / 2), 0], contype=0, conaffinity=HAND | OBJECT,
        )  # fmt: skip


TASK = Task(
    name="yard", description="what is measured", horizon=10, robot=FRANKA_LEAP, hold_steps=1,
    objects=(TaskObject("block"), TaskObject("ball"), TaskObject("pendulum", varies=("size_scale",))),
    add_objects=add_objects, spawn=lambda generator, parameters: {}, success=lambda state: np.zeros(1, bool),
    milestones={}, success_reward=0.0,
)  # fmt: skip


class Yard:
    """One environment of the scene above."""

    def __init__(self, physics: Physics, free_space: bool = False) -> None:
        self.physics = physics
        self.engine = open_engine(TASK, physics, 1, 1, free_space)
        self.model = self.engine.model
        self.joints, _ = joint_addresses(self.model, FRANKA_LEAP)
        self.steps = physics.substeps(10.0)
        values = {name: np.tile(value, (1, 1)) for name, value in TASK.parameters.nominal().items()}
        given = {"hand.dry_friction_nm": 0.01, "block.friction": FRICTION, "contact.time_constant_s": SOFTNESS_S}
        values |= {name: np.full((1, 1), value) for name, value in given.items()}
        qpos = self.model.qpos0[None].copy()
        qpos[:, self.joints] = FRANKA_LEAP.home
        self.engine.begin(np.array([0]), PlantBuilder(self.model, TASK, physics)(values), qpos)

    def addresses(self, name: str) -> tuple[int, int]:
        """In qpos and qvel, of an object."""
        joint = int(self.model.body(name).jntadr[0])
        return int(self.model.jnt_qposadr[joint]), int(self.model.jnt_dofadr[joint])

    def run(self, seconds: float, path: np.ndarray | None = None) -> np.ndarray:
        """(periods, nq) after every control period; path (steps, a): of targets, by default the robot rests."""
        periods = round(seconds * 10)
        if path is None:
            path = np.tile(FRANKA_LEAP.home, (periods * self.steps, 1))
        seen = []
        for period in range(periods):
            self.engine.advance(path[None, period * self.steps : (period + 1) * self.steps])
            seen.append(self.engine.qpos[0].copy())
        return np.stack(seen)


def sliding(physics: Physics) -> dict[str, float]:
    """A block at 1 m/s on the table, and on slopes: distances in metres, theory beside them."""
    yard = Yard(physics)
    q, v = yard.addresses("block")
    yard.run(0.5)
    start = yard.engine.qpos[0, q]
    yard.engine.qvel[0, v] = 1.0
    yard.run(1.0)
    found = {"slide_m": yard.engine.qpos[0, q] - start, "slide_theory_m": 1 / (2 * FRICTION * GRAVITY)}
    for name, slope in SLOPES_RAD.items():
        yard = Yard(physics)
        q, v = yard.addresses("block")
        along, up = np.array([np.cos(slope), 0, -np.sin(slope)]), np.array([np.sin(slope), 0, np.cos(slope)])
        top = np.array([1.5, PLACES_M[name], 0.5]) - 0.5 * along + (0.01 + EDGE_M / 2) * up
        yard.engine.qpos[0, q : q + 7] = [*top, np.cos(slope / 2), 0, np.sin(slope / 2), 0]
        seconds = 0.5 if name == "steep" else 10.0
        yard.run(seconds)
        acceleration = max(GRAVITY * (np.sin(slope) - FRICTION * np.cos(slope)), 0.0)
        found[f"{name}_slope_m"] = (yard.engine.qpos[0, q : q + 3] - top) @ along
        found[f"{name}_slope_theory_m"] = acceleration * seconds**2 / 2
    return found


def rolling(physics: Physics) -> dict[str, float]:
    """A ball that rolls out from 0.5 m/s, and one that drops from 0.3 m and may bounce."""
    yard, speed, drop = Yard(physics), 0.5, 0.3
    q, v = yard.addresses("ball")
    yard.run(0.5)
    start = yard.engine.qpos[0, q]
    yard.engine.qvel[0, v : v + 6] = [speed, 0, 0, 0, speed / RADIUS_M, 0]
    yard.run(4.0)
    deceleration = GRAVITY * ROLLING_M / RADIUS_M * 5 / 7
    found = {"roll_m": yard.engine.qpos[0, q] - start, "roll_theory_m": speed**2 / (2 * deceleration)}
    yard.engine.qpos[0, q + 2], yard.engine.qvel[0, v : v + 6] = RADIUS_M + drop, 0
    heights = yard.run(1.5)[:, q + 2] - RADIUS_M
    landed = int(np.sqrt(2 * drop / GRAVITY) * 10) + 1
    return found | {"bounce_of_drop": max(heights[landed:].max(), 0.0) / drop}


def energy(physics: Physics) -> dict[str, float]:
    """Relative change of a frictionless pendulum's energy over 10 s, from 1.5 rad."""
    yard = Yard(physics)
    q, v = yard.addresses("pendulum")
    inertia = float(yard.model.body("pendulum").inertia[1]) + BOB_KG * ROD_M**2

    def now() -> float:
        angle, speed = yard.engine.qpos[0, q], yard.engine.qvel[0, v]
        return BOB_KG * GRAVITY * ROD_M * (1 - np.cos(angle)) + inertia * speed**2 / 2

    yard.engine.qpos[0, q] = 1.5
    before = now()
    yard.run(10.0)
    return {"energy_change": now() / before - 1}


def impacts(physics: Physics) -> dict[str, float]:
    """Hand and table: largest force on a link as the protective stop of the proxies filters it (10 ms), and largest
    mean over 50 ms, N; the arm swings down gently (fingertip) and hard (palm)."""
    found = {}
    for name, speed_rad_s in (("tap", 0.3), ("crash", 0.6)):
        yard = Yard(physics)
        times = np.arange(20 * yard.steps) * physics.timestep_s
        path = np.tile(FRANKA_LEAP.home, (len(times), 1))
        path[:, 1] += np.minimum(speed_rad_s * times, 0.85)
        forces = np.concatenate(
            [yard.engine.advance(path[None, k : k + yard.steps]).forces[0] for k in range(0, len(path), yard.steps)]
        )
        sums = np.cumsum(np.vstack([np.zeros_like(forces[:1]), forces]), axis=0)
        window = round(0.05 / physics.timestep_s)
        filtered = low_pass(forces[None], np.zeros_like(forces[:1]), np.exp(-physics.timestep_s / 0.01))
        found |= {
            f"{name}_stop_n": filtered.max(),
            f"{name}_50ms_n": (sums[window:] - sums[:-window]).max() / window,
        }
    return found


def free_motion(physics: Physics) -> np.ndarray:
    """(periods, a) true joints, rad, over 4 s of waving with all joints in free space."""
    yard = Yard(physics, free_space=True)
    times = np.arange(round(4 / physics.timestep_s))[:, None] * physics.timestep_s
    rates_hz = np.linspace(0.3, 0.9, len(FRANKA_LEAP.home))
    path = np.array(FRANKA_LEAP.home) + 0.25 * (1 - np.cos(2 * np.pi * rates_hz * times)) / 2
    return yard.run(4.0, path)[:, yard.joints]


def grasping(domain: Domain, episodes: int, robot_seed: int) -> dict[str, float]:
    """The careful demonstrator holds a cube for 10 s: slip in the palm's frame, and the thumb's force."""
    domain = replace(domain, protective_stop=ProtectiveStop())
    task = replace(get_task("pinch_cube"), hold_steps=10_000, horizon=300)
    world = SimulatedWorld(task, domain, episodes, robot_seed, threads=1)
    person = Demonstrator(episodes, get_routine("pinch_cube"), careful(), time_limit=300)
    observation = world.reset(range(300, 300 + episodes))
    person.reset(range(episodes), range(episodes), {k: x.numpy() for k, x in observation.actor.items()})
    thumb = world.engine.links.index("thumb_distal")
    held, commands = np.zeros(episodes, int), np.zeros((episodes, 23))
    poses, forces = [], []
    for _ in range(250):
        _, sent = person.act({k: x.numpy() for k, x in observation.actor.items()})
        commands = np.where((held > 10)[:, None], commands, sent)  # a second to settle, then the same command
        result = world.step(torch.from_numpy(commands))
        observation, success = result.observation, result.success.numpy()
        held = np.where(success, held + 1, 0)
        poses.append(_in_palm(world))
        forces.append(world._force[:, thumb].copy())
    kept = np.flatnonzero(held > 120)
    first, last = np.array(poses)[-101, kept], np.array(poses)[-1, kept]
    turned = np.abs((first[:, 3:] * last[:, 3:]).sum(1)).clip(max=1)
    return {
        "held": len(kept),
        "episodes": episodes,
        "slip_m": float(np.linalg.norm(first[:, :3] - last[:, :3], axis=1).max()),
        "slip_rad": float(2 * np.arccos(turned).max()),
        "thumb_force_n": float(np.array(forces)[-100:, kept].mean()),
    }


def _in_palm(world: SimulatedWorld) -> np.ndarray:
    """(n, 7) the cube in the palm's frame."""
    state = world.state
    palm, cube = state.posture.palm, state.body("cube")
    back = rotations.inverse(palm[:, 3:])
    place = rotations.rotate(back, cube.position - palm[:, :3])
    return np.concatenate([place, rotations.multiply(back, cube.quaternion)], axis=1)


def main(config: Benchmark) -> None:
    torch.set_num_threads(1)
    reference, table = free_motion(load_domain(COLUMNS["mujoco"][0]).physics), {}
    for name, (of, timestep_s) in COLUMNS.items():
        domain = load_domain(of)
        physics = replace(domain.physics, timestep_s=timestep_s or domain.physics.timestep_s)
        domain = replace(domain, physics=physics)
        apart = np.abs(free_motion(physics) - reference)
        row = {
            "domain": of,
            "timestep_s": physics.timestep_s,
            "arm_apart_rad": float(apart[:, :7].max()),
            "hand_apart_rad": float(apart[:, 7:].max()),
            **sliding(physics), **rolling(physics), **energy(physics), **impacts(physics),
            **grasping(domain, config.episodes, config.robot_seed),
        }  # fmt: skip
        table[name] = {key: value if isinstance(value, (str, int)) else float(value) for key, value in row.items()}
        print(name, table[name], flush=True)
    write_json(config.result, {"benchmark": "engines", **describe_process(), "engines": table})


if __name__ == "__main__":
    main(tyro.cli(Benchmark, description=__doc__))
