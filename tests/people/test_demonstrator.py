"""The scripted person: reproducible, different from episode to episode, and good when it is careful."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from score_rl.robots.franka_leap.model import add_bodies
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import HAND, OBJECT
from score_rl.tasks.people.demonstrator import Demonstrator
from score_rl.tasks.people.habits import Habits, careful
from score_rl.tasks.pinch_cube import demonstrator as pinch_cube
from score_rl.tasks.pinch_cube.demonstrator import HASTY, ROUTINE, TRIPOD, face_yaw

HOME = np.array(FRANKA_LEAP.home)


def _frame(n: int, joints=None, cube=(0.5, 0.0, 0.0225), yaw: float = 0.2) -> dict[str, np.ndarray]:
    joints = np.tile(HOME, (n, 1)) if joints is None else joints
    pose = np.r_[cube, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    return {"state": joints, "command": joints, "object_pose": np.tile(pose, (n, 1))}


def _play(seeds, steps: int, habits: Habits | None = None) -> tuple[np.ndarray, np.ndarray, Demonstrator]:
    """(steps, n, 23) recorded and sent targets, for a robot that is always where it was told to be."""
    person = Demonstrator(len(seeds), ROUTINE, habits)
    frame = _frame(len(seeds))
    person.reset(range(len(seeds)), seeds, frame)
    recorded, sent = [], []
    for _ in range(steps):
        label, command = person.act(frame)
        recorded.append(label)
        sent.append(command)
        frame = _frame(len(seeds), label)
    return np.stack(recorded), np.stack(sent), person


def test_an_episode_depends_on_its_seed_alone():
    together, together_sent, _ = _play([3, 4, 5, 6], 60)
    alone, alone_sent, _ = _play([5], 60)
    np.testing.assert_array_equal(together[:, 2], alone[:, 0])
    np.testing.assert_array_equal(together_sent[:, 2], alone_sent[:, 0])
    assert np.abs(together[:, 0] - together[:, 1]).max() > 0.01


def test_resetting_one_row_leaves_the_others_alone():
    reference, _, _ = _play([1, 2], 30)
    person, frame = Demonstrator(2, ROUTINE), _frame(2)
    person.reset([0, 1], [1, 2], frame)
    for step in range(30):
        if step == 10:
            person.reset([0], [99], frame)
        label, _ = person.act(frame)
        np.testing.assert_array_equal(label[1], reference[step, 1])
        frame = _frame(2, label)


def test_a_new_episode_forgets_the_last_one():
    reference, _, _ = _play([7], 20)
    _, _, person = _play([3], 60)  # by now the hand has closed
    frame = _frame(1)
    person.reset([0], [7], frame)
    for step in range(20):
        label, _ = person.act(frame)
        np.testing.assert_array_equal(label[0], reference[step, 0])
        frame = _frame(1, label)


def test_targets_stay_within_the_bounds_and_move_smoothly():
    recorded, sent, _ = _play(range(20), 100)
    low, high = np.array(FRANKA_LEAP.target_lower), np.array(FRANKA_LEAP.target_upper)
    for targets in (recorded, sent):
        assert ((targets >= low) & (targets <= high)).all()
    assert np.abs(np.diff(recorded[..., :7], axis=0)).max() < 0.61  # three bounded inverse-kinematics steps
    assert np.abs(recorded[0] - HOME)[:, :7].max() < 0.1


def test_labels_are_clean_and_commands_are_noisy():
    recorded, sent, _ = _play(range(30), 100)
    noise = (sent - recorded)[:, :, 7:]
    inside = np.abs(noise) > 0
    assert inside.mean() > 0.9
    assert np.std(noise[inside]) == pytest.approx(Habits.hand_noise_rad, rel=0.15)
    quiet, quiet_sent, _ = _play(range(3), 40, careful())
    np.testing.assert_array_equal(quiet, quiet_sent)


def test_noise_is_smooth_calm_at_first_and_then_stationary():
    habits = Habits(noise_correlation=0.8)
    _, _, person = _play([0], 1, habits)
    draws = np.stack([person._draw_noise(np.random.default_rng(k)) for k in range(200)])[..., 0]
    assert draws[:, 0].std() == pytest.approx(0.6 * habits.arm_noise_rad, rel=0.2)
    assert draws[:, 100].std() == pytest.approx(habits.arm_noise_rad, rel=0.2)
    assert np.corrcoef(draws[:, 50], draws[:, 51])[0, 1] == pytest.approx(0.8, abs=0.1)


def test_styles_are_drawn_by_their_shares():
    person = Demonstrator(400, ROUTINE)
    person.reset(range(400), range(400), _frame(400, cube=(0.62, 0.0, 0.0225)))
    first = [log.attempts[0] for log in person.log]
    share = np.mean(["hasty" in way for way in first])
    assert share == pytest.approx(HASTY.share / (HASTY.share + TRIPOD.share), abs=0.08)
    assert np.mean(["crosswise" in way for way in first]) == pytest.approx(pinch_cube.CROSSWISE_PROBABILITY, abs=0.08)
    assert np.mean(["slanted" in way for way in first]) == pytest.approx(pinch_cube.SLANTED_PROBABILITY, abs=0.08)


@pytest.mark.slow
def test_a_cube_that_stays_is_noticed_and_tried_again_or_left():
    _, _, person = _play(range(40), 128)
    attempts = np.array([len(log.attempts) for log in person.log])
    assert attempts.max() >= 2
    given_up = [log for log in person.log if log.gave_up]
    assert given_up and given_up[0].label().endswith("gave up")
    assert all(hand.closing == 0.0 for hand in person._people if hand.log.gave_up)
    stubborn = _play(range(5), 128, replace(careful(), retry_probability=1.0))[2]
    assert all(len(log.attempts) >= 3 and not log.gave_up for log in stubborn.log)


@pytest.mark.parametrize("yaw_deg", [0, 30, 44, 80, 135, -100])
def test_face_yaw_is_the_nearest_of_four(yaw_deg):
    half, near = np.radians(yaw_deg) / 2, np.radians(-105)
    yaw = face_yaw((np.cos(half), 0, 0, np.sin(half)), near)
    assert abs(yaw - near) <= np.pi / 4 + 1e-9
    quarters = (np.degrees(yaw) - yaw_deg) / 90
    assert quarters == pytest.approx(round(quarters), abs=1e-9)


def test_face_yaw_of_a_cube_on_its_side():
    # Rolled by 90 degrees about x, then turned by 20 degrees about z.
    roll, turn = np.array([np.sqrt(0.5), np.sqrt(0.5), 0, 0]), np.radians(20) / 2
    quaternion = np.zeros(4)
    mujoco.mju_mulQuat(quaternion, np.array([np.cos(turn), 0, 0, np.sin(turn)]), roll)
    assert np.degrees(face_yaw(quaternion, np.radians(10))) == pytest.approx(20)


@pytest.mark.slow
def test_the_careful_person_pinches_and_lifts_a_cube():
    """Closed loop in a bare simulation at 60 Hz, corners of the spawn region included."""
    spec = mujoco.MjSpec()
    option = spec.option
    option.timestep, option.integrator = 1 / 60, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone, option.jacobian = mujoco.mjtCone.mjCONE_ELLIPTIC, mujoco.mjtJacobian.mjJAC_DENSE
    option.impratio, option.iterations, option.ls_iterations = 10, 10, 20
    add_bodies(spec, FRANKA_LEAP)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=(2, 2, 0.1), conaffinity=7, contype=0)
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.0225,) * 3, mass=0.06, condim=4, contype=OBJECT,
        conaffinity=HAND | OBJECT, priority=1, friction=(0.6, 0.005, 0.0001),
    )  # fmt: skip
    model = spec.compile()
    lifted = []
    for x, y, yaw in [(0.5, 0.0, 0.0), (0.3, 0.0, 0.7), (0.7, 0.2, -0.5), (0.7, -0.2, 0.4), (0.3, 0.2, 0.1)]:
        data, person = mujoco.MjData(model), Demonstrator(1, ROUTINE, careful())
        data.qpos[:23] = data.ctrl[:] = HOME
        data.qpos[23:] = (x, y, 0.0225, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        for step in range(60):
            frame = {"state": data.qpos[None, :23], "command": data.ctrl[None], "object_pose": data.qpos[None, 23:]}
            if step == 0:
                person.reset([0], [0], frame)
            data.ctrl[:] = person.act(frame)[1][0]
            for _ in range(6):
                mujoco.mj_step(model, data)
        lifted.append(np.linalg.norm(data.qpos[23:26] - (0.55, 0.0, 0.35)) < 0.15)
    assert sum(lifted) >= 4


def test_a_person_sees_every_object_that_is_shown():
    seen = []

    def script(someone):
        while True:
            seen.append((someone.object_pose[0], {name: pose[0] for name, pose in someone.others.items()}))
            yield

    person = Demonstrator(2, replace(ROUTINE, script=script))
    frame = _frame(2) | {"palm_pose": np.zeros((2, 7)), "plate_pose": np.array([[0.1] * 7, [0.2] * 7])}
    person.reset([0, 1], [0, 0], frame)
    assert seen == [(0.5, {"plate": 0.1}), (0.5, {"plate": 0.2})]
    person.act(frame | {"plate_pose": np.array([[0.1] * 7, [0.3] * 7])})
    assert seen[2:] == [(0.5, {"plate": 0.1}), (0.5, {"plate": 0.3})]
