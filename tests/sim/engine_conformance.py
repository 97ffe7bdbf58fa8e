"""What every engine promises (`score_rl.sim.engines.engine`), with a scene of two free bodies and a hinge."""

from __future__ import annotations

import numpy as np
from parts import BLOCK_KG, BLOCK_M, CUP_KG, FLOOR_M, TASK

from score_rl.sim.domain import Physics
from score_rl.sim.engines.engine import Engine, Motion, open_engine
from score_rl.sim.plant import Plant, PlantBuilder
from score_rl.sim.scene import joint_addresses

GRAVITY = 9.81
STEPS = 12
"""Physics steps of a control period at the scene's 1/120 s."""
ROBOT = TASK.robot
HOME = np.array(ROBOT.home)


class Bench:
    """An engine with n environments, and what the checks do with it."""

    def __init__(self, physics: Physics, n: int, threads: int = 1, free_space: bool = False) -> None:
        self.physics = TASK.physics(physics)
        self.engine: Engine = open_engine(TASK, self.physics, n, threads, free_space)
        self.n, self.model = n, self.engine.model
        self.joints, self.dofs = joint_addresses(self.model, ROBOT)
        self._plant = PlantBuilder(self.model, TASK, self.physics)

    def address(self, body: str) -> int:
        """Of a free body in `qpos`."""
        return int(self.model.jnt_qposadr[self.model.body(body).jntadr[0]])

    def plant(self, rows: int, **changes: float) -> Plant:
        """Nominal but for the changes, `cup__mass_scale=2.0`."""
        values = {name: np.tile(value, (rows, 1)) for name, value in TASK.parameters.nominal().items()}
        values |= {name.replace("__", "."): np.full((rows, 1), value) for name, value in changes.items()}
        return self._plant(values)

    def begin(self, rows: list[int] | None = None, **changes: float) -> None:
        """The block lies in the cup, the robot is at home."""
        chosen = np.arange(self.n) if rows is None else np.array(rows)
        qpos = np.tile(self.model.qpos0, (len(chosen), 1))
        qpos[:, self.joints] = HOME
        cup, block = self.address("cup"), self.address("block")
        qpos[:, cup : cup + 3], qpos[:, block : block + 3] = [0.6, 0, 0], [0.6, 0, FLOOR_M + BLOCK_M / 2]
        self.engine.begin(chosen, self.plant(len(chosen), **changes), qpos)

    def hold(self, joints: np.ndarray, periods: int = 1) -> Motion:
        """Targets (a,) or (n, a) for some control periods; what happened in the last one."""
        for _ in range(periods):
            targets = np.broadcast_to(np.atleast_2d(joints)[:, None], (self.n, STEPS, len(HOME)))
            motion = self.engine.advance(np.ascontiguousarray(targets))
        return motion

    def wave(self, periods: int, seed: int = 0) -> list[np.ndarray]:
        """Everything that can be seen while the robot waves; row k does what seed + k says."""
        seen = []
        generators = [np.random.default_rng(seed + row) for row in range(self.n)]
        for _ in range(periods):
            joints = np.stack([HOME + g.uniform(-0.3, 0.3, len(HOME)) for g in generators])
            motion = self.hold(joints)
            seen += [motion.forces.copy(), motion.torques.copy(), motion.contacts.copy()]
            seen += [self.engine.qpos.copy(), self.engine.qvel.copy()]
        return seen


def check_engine(physics: Physics) -> None:
    """Run every check; raises AssertionError."""
    check_shapes(physics)
    check_free_motion(physics)
    check_falling(physics)
    check_weights(physics)
    check_parameters(physics)
    check_limits(physics)
    check_determinism_and_independence(physics)
    check_restart(physics)
    check_divergence(physics)


def check_shapes(physics: Physics) -> None:
    """Arrays have the promised shapes, and configurations MuJoCo's layout."""
    bench = Bench(physics, 2)
    bench.begin()
    motion = bench.hold(HOME)
    assert bench.engine.qpos.shape == (2, bench.model.nq) and bench.engine.qvel.shape == (2, bench.model.nv)
    assert motion.forces.shape == (2, STEPS, len(bench.engine.links))
    assert motion.torques.shape == (2, STEPS, len(HOME))
    assert motion.contacts.shape == (2, STEPS, len(TASK.contacts)) and motion.diverged.tolist() == [False, False]
    assert {f"{finger}_distal" for finger in ROBOT.fingers} <= set(bench.engine.links)


def check_free_motion(physics: Physics) -> None:
    """In free space the robot stays where it is told to, goes where it is told to, and objects stay."""
    bench = Bench(physics, 1, free_space=True)
    bench.begin()
    start = bench.engine.qpos.copy()
    bench.hold(HOME, 5)
    assert np.abs(bench.engine.qpos - start).max() < 1e-3
    goal = HOME + 0.2
    bench.hold(goal, 30)
    # Damping of the servo at rest is nil, and there is no load: the target is reached.
    assert np.abs(bench.engine.qpos[:, bench.joints] - goal).max() < 2e-3
    assert np.abs(bench.engine.qvel[:, bench.dofs]).max() < 1e-2
    block = bench.address("block")
    assert np.abs(bench.engine.qpos[:, block : block + 7] - start[:, block : block + 7]).max() < 1e-6


def check_falling(physics: Physics) -> None:
    """What is written into `qpos` holds: a block put into the air falls by g t^2 / 2."""
    bench = Bench(physics, 1)
    bench.begin()
    block = bench.address("block")
    bench.engine.qpos[0, block : block + 3] = [0.9, 0.4, 0.5]
    bench.hold(HOME)
    seconds, step_s = STEPS * bench.physics.timestep_s, bench.physics.timestep_s
    fallen = 0.5 - bench.engine.qpos[0, block + 2]
    assert abs(fallen - GRAVITY * seconds**2 / 2) <= GRAVITY * seconds * step_s / 2 + 1e-4  # first order in the step
    velocity = bench.engine.qvel[0, bench.model.body("block").dofadr[0] + 2]
    assert abs(velocity + GRAVITY * seconds) < 1e-3


def check_weights(physics: Physics) -> None:
    """At rest the cup carries the block, and the table both; nothing touches the hand."""
    bench = Bench(physics, 1)
    bench.begin()
    motion = bench.hold(HOME, 10)
    block_on_cup, cup_on_table, fingers, palm = motion.contacts.mean(1)[0]
    assert abs(block_on_cup - BLOCK_KG * GRAVITY) < 0.01
    assert abs(cup_on_table - (BLOCK_KG + CUP_KG) * GRAVITY) < 0.02
    assert fingers == palm == 0 and not motion.forces.any()


def check_parameters(physics: Physics) -> None:
    """Masses, sizes and the table's height are those of the episode's plant, row by row."""
    bench = Bench(physics, 2)
    bench.begin()
    if "object.mass_scale" not in bench.engine.not_represented:
        bench.begin([1], block__mass_scale=2.0, cup__mass_scale=3.0)
        carried = bench.hold(HOME, 10).contacts.mean(1)
        assert abs(carried[0, 1] - (BLOCK_KG + CUP_KG) * GRAVITY) < 0.02
        assert abs(carried[1, 0] - 2 * BLOCK_KG * GRAVITY) < 0.02
        assert abs(carried[1, 1] - (2 * BLOCK_KG + 3 * CUP_KG) * GRAVITY) < 0.05
    if not {"object.size_scale", "table.height_m"} & bench.engine.not_represented:
        bench.begin([1], block__size_scale=1.2, table__height_m=-0.01)
        block = bench.address("block")
        bench.engine.qpos[1, block : block + 2] = [0.9, 0.4]
        bench.hold(HOME, 12)
        assert abs(bench.engine.qpos[1, block + 2] - (1.2 * BLOCK_M / 2 - 0.01)) < 1e-3


def check_limits(physics: Physics) -> None:
    """Targets beyond the robot's target limits do what those at the limits do; torques keep theirs."""
    bench = Bench(physics, 2, free_space=True)
    bench.begin()
    high = np.array(ROBOT.target_upper)
    motion = bench.hold(np.stack([high, high + 1.0]), 3)
    assert np.array_equal(bench.engine.qpos[0], bench.engine.qpos[1])
    assert (np.abs(motion.torques) <= bench.plant(2).torque_limit_nm[:, None] * (1 + 1e-6)).all()


def check_determinism_and_independence(physics: Physics) -> None:
    """To the bit: the same again, with other threads, and whatever the neighbours do."""
    benches = [Bench(physics, 1), Bench(physics, 1), Bench(physics, 3, threads=2)]
    seen = []
    for bench in benches:
        bench.begin()
        seen.append([values[:1] for values in bench.wave(6)])
    for other in seen[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(seen[0], other))


def check_restart(physics: Physics) -> None:
    """An episode after others is the first one again, to the bit, and its neighbours do not notice."""
    fresh, used = Bench(physics, 2), Bench(physics, 2)
    used.begin(block__mass_scale=3.0, cup__friction=0.3, hand__gain_scale=0.7)
    used.wave(4, seed=7)
    fresh.begin()
    used.begin()
    assert all(np.array_equal(one, two) for one, two in zip(fresh.wave(5), used.wave(5)))
    used.begin([0])
    fresh_again = Bench(physics, 1)
    fresh_again.begin()
    first, again = fresh_again.wave(3, seed=3), used.wave(3, seed=3)
    assert all(np.array_equal(one, two[:1]) for one, two in zip(first, again))


def check_divergence(physics: Physics) -> None:
    """A state that is not finite ends in one parked row; the others and the next episode are untouched."""
    broken, healthy = Bench(physics, 3), Bench(physics, 3)
    for bench in (broken, healthy):
        bench.begin()
        bench.wave(2)
    for poison in (np.nan, np.inf):
        broken.engine.qvel[1, broken.dofs[8]] = poison
        hurt, fine = broken.hold(HOME), healthy.hold(HOME)
        assert hurt.diverged.tolist() == [False, True, False] and not fine.diverged.any()
        assert not hurt.forces[1].any() and not hurt.contacts[1].any()
        assert np.isfinite(broken.engine.qpos).all() and np.isfinite(broken.engine.qvel).all()
        others = [0, 2]
        assert np.array_equal(broken.engine.qpos[others], healthy.engine.qpos[others])
        assert np.array_equal(hurt.forces[others], fine.forces[others])
    alone = Bench(physics, 1)
    alone.begin()
    broken.begin([1])
    alone.hold(HOME, 3)
    broken.hold(HOME, 3)
    assert np.array_equal(broken.engine.qpos[1], alone.engine.qpos[0])
