"""The simulated robot as a process: same commands as in-process, and nothing a client does can leave it moving."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from score_rl.contracts import ArraySpec, PolicySpec
from score_rl.core import plugins
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset
from score_rl.deploy import drivers
from score_rl.deploy.bundle.spec import VERSION, BundleSpec, franka_leap_limits
from score_rl.deploy.drivers import load_driver, robot_names
from score_rl.deploy.drivers.franka_leap_template import FrankaLeap
from score_rl.deploy.drivers.lines import LineError, Lines, decode, encode
from score_rl.deploy.drivers.protocol import RobotDriver, RobotLost, RobotSpec
from score_rl.deploy.drivers.proxy import Faults, ProxyRobot, RobotProcessConfig, robot_status, spawn_robot
from score_rl.deploy.drivers.proxy_process import RobotProcess
from score_rl.deploy.drivers.testing import check_driver
from score_rl.deploy.runtime.control_loop import RunConfig
from score_rl.deploy.runtime.recorder import Recorder
from score_rl.deploy.runtime.runtime import Runtime
from score_rl.evaluation.evaluate import evaluate
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.world import make_world
from score_rl.steering.policy import Decision

HORIZON, STEPS = 6, 4
KEYS = ("state", "command", "object_pose")


class Wanderer:
    """Follows its noise, and what it sees, in small steps: different in every decision, the same for equal inputs."""

    def __init__(self) -> None:
        limits, names = franka_leap_limits(), FRANKA_LEAP.joint_names
        observation = {key: limits.interface.observation[key] for key in KEYS}
        interface = replace(limits.interface, observation=observation)
        policy = PolicySpec(interface, 2, HORIZON, latent_shape=(HORIZON, len(names)))
        self.spec = BundleSpec(
            VERSION, "base", "pinch_cube", policy, STEPS, limits.action_low, limits.action_high,
            limits.action_velocity_limit, limits.action_acceleration_limit, limits.robot, {}, (),
        )  # fmt: skip
        self.policy_spec = policy

    def decide(self, window: Any, noise: torch.Tensor) -> Decision:
        seen = 0.1 * (window["state"][:, -1] - window["state"][:, 0]) + 0.001 * window["object_pose"][:, -1, :1]
        chunk = window["command"][:, -1:] + (0.01 * noise.tanh() + seen[:, None]).cumsum(dim=1)
        return Decision(chunk, noise)

    base_decide = decide


@contextmanager
def robot_at(address: Path, speed: float) -> Iterator[subprocess.Popen[bytes]]:
    """A robot process that is gone afterwards, whatever a test did."""
    process = spawn_robot(RobotProcessConfig(world="twin", address=address, speed=speed))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A robot that waits for every command."""
    address = tmp_path_factory.mktemp("waiting") / "robot.sock"
    with robot_at(address, speed=0.0):
        yield address


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A robot that lives at twice real time."""
    address = tmp_path_factory.mktemp("living") / "robot.sock"
    with robot_at(address, speed=2.0) as process:
        yield address
        with patient(address) as robot:  # asked to end in the middle of an episode, it ends cleanly
            robot.command(robot.begin(1).frame["command"] + np.float32(0.05))
            process.terminate()
            assert process.wait(60) == 0
        assert not address.exists()


def test_the_wire_changes_no_bit(waiting: Path, tmp_path: Path) -> None:
    """Same seeds, same noise, same rows: the commands of an episode over the wire are those of the evaluation."""
    policy, seeds, length = Wanderer(), [3, 4], 60

    class InProcess:
        spec, decide = policy.policy_spec, policy.decide

    world = make_world("pinch_cube", "twin", 1, threads=1)
    trace = evaluate(world, InProcess(), seeds, STEPS, traced=2).trace
    with patient(waiting) as robot, Recorder(tmp_path, robot.spec, "wander") as recorder:
        runtime = Runtime(policy, robot, robot.spec, RunConfig(time_limit_s=length / 10), recorder)
        reports = runtime.run(seeds)
        runtime.close()
    dataset = load_dataset(tmp_path / "dataset")
    for row, report in enumerate(reports):
        recorded = dataset.episode(row)
        assert report.guard["pass"] == length
        np.testing.assert_array_equal(recorded["action"][:length], trace["action"][row, :length].numpy())
        for key in KEYS:
            seen = trace[f"observation.{key}"][row, :length].numpy()
            np.testing.assert_array_equal(recorded[f"observation.{key}"][:length], seen)


# ---- the life of the process ------------------------------------------------------------------------------------


def patient(address: Path) -> ProxyRobot:
    """A client that a busy machine does not make give up."""
    return ProxyRobot(address, connect_s=300.0, confirm_s=60.0)


def wait_for(condition: Any, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("start", [0.0, 800.0, 12345.678, 33554432.7, 1e9])
def test_a_robot_without_commands_brakes_holds_and_stops(start: float) -> None:
    """By a clock that is told in the test, as a machine that has just booted or been up for years would have it:
    commands in three periods of 0.1 s, then none."""
    robot, sent = robot_with(Faults(), speed=1.0, clock=lambda: start), []
    robot._transmit = lambda connection, line: sent.append(json.loads(line)["reading"])  # type: ignore[method-assign]
    robot._owner = socket.socket()  # somebody is there, and silent
    robot._begin(1)
    home = robot.guard.last
    for k in range(3):
        answer = robot._command((home + np.float32(0.02 * (k + 1))).tolist())
        assert answer["refused"] == ""
        robot._simulate()
        assert robot._command(home.tolist())["refused"] == "late"  # one command per period
        robot._live(start + 0.1 * (k + 1))
    assert [reading["number"] for reading in sent] == [0, 1, 2, 3]
    robot._live(start + 0.349)
    assert robot.status()["missed"] == 0
    robot._live(start + 0.351)
    # 0.02 a step is braked within one.
    status = robot.status()
    assert (status["state"], status["reason"], status["missed"]) == ("holding", "no_command", 1)
    np.testing.assert_allclose(robot.guard.last, home + np.float32(0.06), atol=1e-6)
    for k in range(4, 20):
        robot._live(start + 0.1 * k)
        robot._live(start + 0.1 * k + 0.051)
    assert (robot.status()["state"], robot.status()["reason"]) == ("stopped", "held_too_long")
    assert robot.status()["resting"] and sent[-1]["ended"] == "stopped"
    # Held for 1 s is ten periods, the eleventh stops; from then on it refuses, and says what it holds.
    assert sent[-1]["number"] == 3 + 11
    assert robot._command(home.tolist()) == {"sent": robot.guard.last.tolist(), "refused": "stopped"}
    robot._owner.close()


@pytest.mark.slow
def test_killing_the_client_leaves_the_robot_at_rest(living: Path) -> None:
    script = (
        "import sys, numpy as np; from score_rl.deploy.drivers.proxy import ProxyRobot\n"
        "robot = ProxyRobot(sys.argv[1], confirm_s=20); robot.connect(); held = robot.begin(5).frame['command']\n"
        "for k in range(10**6):\n"
        "    held = robot.command(held + np.float32(0.01) * (1 if k // 20 % 2 else -1)); robot.observe(1.0)\n"
        "    print(k, flush=True)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", script, str(living)], stdout=subprocess.PIPE)
    assert client.stdout is not None
    while int(client.stdout.readline()) < 8:
        pass
    client.kill()
    client.wait()
    client.stdout.close()
    wait_for(lambda: not robot_status(living)["driven"])
    wait_for(lambda: robot_status(living)["state"] == "stopped")
    assert robot_status(living)["resting"]
    with patient(living) as robot:  # and it serves the next one
        assert robot.begin(1).number == 0


@pytest.mark.slow
def test_a_killed_robot_is_noticed(tmp_path: Path) -> None:
    address = tmp_path / "robot.sock"
    with robot_at(address, speed=0.0) as process, patient(address) as robot:
        robot.begin(1)
        process.kill()
        process.wait()
        with pytest.raises(RobotLost):
            for _ in range(3):
                robot.command(np.zeros(23))
                robot.observe(5.0)
    with pytest.raises(ScoreError, match="no robot answers"):
        ProxyRobot(address, connect_s=0.1).connect()


def test_one_driver_at_a_time(living: Path) -> None:
    with patient(living) as one, patient(living) as other:
        one.begin(1)
        with pytest.raises(ScoreError, match="somebody else"):
            other.begin(2)
        with pytest.raises(ScoreError, match="begin an episode first"):
            other.command(np.zeros(23))
        assert one.status()["driven"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\xff\n",
        b"[1, 2]\n",
        b"{}\n",
        b'{"do": "fly", "id": 1}\n',
        b'{"do": "begin", "id": 1}\n',
        b'{"do": "begin", "seed": [1], "id": 1}\n',
        b'{"do": "command", "command": "fast", "id": 1}\n',
        b"[" * 5000 + b"\n",
        b"x" * 2_000_000,
    ],
)
def test_nonsense_harms_nobody(living: Path, nonsense: bytes) -> None:
    with patient(living) as robot:
        held = robot.begin(1).frame["command"]
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(living))
            raw.settimeout(20.0)
            try:
                raw.sendall(nonsense)
                answer = raw.recv(4096)
            except ConnectionError:
                answer = b'{"error": "hung up"}'
            assert b"error" in answer
            assert b"Traceback" not in answer
        np.testing.assert_array_equal(robot.command(held), held)  # it rests there, in time or not


@pytest.mark.slow
@pytest.mark.parametrize("command", [None, [1.0], "fast", [float("nan")] * 23, [1e300] * 23, {}, [[0.0] * 23]])
def test_a_hostile_command_is_braked_or_clipped(waiting: Path, command: Any) -> None:
    """Straight over the wire, past the client's guard: the robot's own guard has the last word."""
    with patient(waiting) as robot:
        held = robot.begin(1).frame["command"]
        answer = robot._ask({"do": "command", "command": command}, 5.0)
        moved = abs(np.float32(answer["sent"]) - held)
        assert (moved <= np.array(FRANKA_LEAP.velocity_limit_rad_s) * 0.1).all()
        assert robot.observe(1.0).number == 1


# ---- faults -----------------------------------------------------------------------------------------------------


def robot_with(faults: Faults, speed: float = 0.0, clock: Callable[[], float] = time.monotonic) -> RobotProcess:
    config = RobotProcessConfig(world="twin", faults=faults, speed=speed)
    return RobotProcess(make_world("pinch_cube", "twin", 1, threads=1), config, clock)


def published(robot: RobotProcess, steps: int) -> list[dict[str, Any]]:
    """The measurements that a robot without a socket would send, while it is sent its own posture."""
    sent: list[dict[str, Any]] = []
    robot._transmit = lambda connection, line: sent.append(json.loads(line)["reading"])  # type: ignore[method-assign]
    robot._begin(9)
    for _ in range(steps):
        robot._settle((robot.guard.last + np.float32(0.001)).tolist())
        robot._simulate()
        robot._next_period()
    return sent


def test_faults_are_what_was_asked_for() -> None:
    clean = published(robot_with(Faults()), 40)
    assert [reading["number"] for reading in clean] == list(range(41))
    dropped = published(robot_with(Faults(drop_readings=0.3)), 40)
    assert 5 <= 41 - len(dropped) <= 20
    # The world itself is the same: what does arrive is the same measurement.
    numbers = {reading["number"]: reading["frame"] for reading in clean}
    assert all(numbers[reading["number"]] == reading["frame"] for reading in dropped)
    frozen = published(robot_with(Faults(freeze=0.05, freeze_steps=4)), 40)
    same = [frozen[k]["frame"] == frozen[k + 1]["frame"] for k in range(40)]
    assert 4 <= sum(same) <= 28
    again = published(robot_with(Faults(drop_readings=0.3)), 40)
    assert [reading["number"] for reading in again] == [reading["number"] for reading in dropped]


def test_delays_are_in_the_robots_time() -> None:
    robot = robot_with(Faults(delay_s=0.04), speed=2.0, clock=lambda: 7.0)
    assert published(robot, 3)[0]["number"] == 0
    # Periods of 0.05 s begin at 7.05, 7.10 and 7.15; every measurement is 0.04 / 2 s late.
    assert [round(when, 6) for when, _ in robot._late] == [7.07, 7.12, 7.17]


def test_settings_are_checked() -> None:
    assert robot_with(Faults()).guard.limits.velocity == FRANKA_LEAP.velocity_limit_rad_s
    with pytest.raises(ScoreError, match="grace"):
        RobotProcess(make_world("pinch_cube", "twin", 1, threads=1), RobotProcessConfig(grace=0.0))


# ---- plugins and template ---------------------------------------------------------------------------------------


def test_drivers_are_found_by_name() -> None:
    assert {"proxy", "franka_leap_template"} <= set(robot_names())
    driver = load_driver("proxy", {"address": "somewhere.sock"})
    assert isinstance(driver, ProxyRobot)
    with pytest.raises(ScoreError, match="unknown robot 'proxi'; did you mean 'proxy'"):
        load_driver("proxi", {})
    with pytest.raises(ScoreError, match="unknown option of robot 'proxy' 'adress'; did you mean 'address'"):
        load_driver("proxy", {"adress": "x"})
    with pytest.raises(ScoreError, match="connect_s is 'abc', expected a number of seconds"):
        load_driver("proxy", {"address": "x", "connect_s": "abc"})


def test_a_plugin_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_package:make", drivers.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [broken])
    with pytest.raises(ScoreError, match="no_such_package:make"):
        load_driver("broken", {})


class FakeArm:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def connect(self) -> None: ...

    def release(self) -> None: ...

    def home(self, joints: Any) -> None:
        self.sent.append(np.array(joints))

    def joints(self) -> Any:
        return np.array(FRANKA_LEAP.home[:7])

    def send(self, joints: Any) -> None:
        self.sent.append(np.array(joints))


class FakeHand(FakeArm):
    def joints(self) -> Any:
        return np.array(FRANKA_LEAP.home[7:])


@pytest.mark.parametrize("robot", ["waiting", "living"])
def test_simulated_robots_keep_the_protocol(robot: str, request: pytest.FixtureRequest) -> None:
    check_driver(ProxyRobot(request.getfixturevalue(robot), confirm_s=10.0), steps=4)


def test_the_template_keeps_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("score_rl.deploy.drivers.franka_leap_template.HAND_HOME_S", 0.0)
    lying = [0.5, 0, 0.02, 1, 0, 0, 0]
    check_driver(FrankaLeap(FakeArm(), FakeHand(), lambda: (lying, time.monotonic()), str))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_template_is_a_driver() -> None:
    """With arm and hand replaced: what it shows is what the twin shows in the same posture."""
    arm, hand, asked = FakeArm(), FakeHand(), []
    pose = ([0.5, 0, 0.02, 1, 0, 0, 0], 123.0)
    with FrankaLeap(arm, hand, lambda: pose, asked.append) as robot:  # type: ignore[arg-type]
        assert isinstance(robot, RobotDriver)
        reading = robot.begin(3)
        world = make_world("pinch_cube", "twin", 1, threads=1)
        shown = world.reset([0]).actor
        assert robot.spec.interface == world.spec.interface and shown.keys() == reading.frame.keys()
        np.testing.assert_allclose(reading.frame["palm_pose"], shown["palm_pose"][0], atol=2e-2)
        np.testing.assert_array_equal(reading.frame["command"], np.float32(FRANKA_LEAP.home))
        assert reading.measured_at == 123.0 and len(asked) == 1
        target = np.array(FRANKA_LEAP.home) + 0.01
        np.testing.assert_array_equal(robot.command(target), target.astype(np.float32))
        np.testing.assert_array_equal(arm.sent[-1], target[:7])
        robot.stop()
        np.testing.assert_array_equal(robot.command(target + 1), target.astype(np.float32))
        assert len(arm.sent) == 2
    with pytest.raises(ScoreError, match="module:function"):
        load_driver("franka_leap_template", {"pose": "camera"})


# ---- lines ------------------------------------------------------------------------------------------------------


def test_lines_carry_float32_exactly() -> None:
    values = np.float32(np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-5, 5).repeat(100))
    one, other = socket.socketpair()
    with one, other:
        one.sendall(encode({"values": values.tolist(), "none": float("nan")})[:9])
        lines = Lines(other)
        assert lines.receive() == []
        one.sendall(encode({"values": values.tolist(), "none": float("nan")})[9:])
        received: list[bytes] = []
        while not received:
            received = lines.receive() or []
        assert (np.float32(decode(received[0])["values"]) == values).all()
        one.sendall(b"{]\n")
        (line,) = lines.receive() or ()
        with pytest.raises(LineError):
            decode(line)
        one.close()
        assert lines.receive() is None


def test_a_robot_is_asked_for_views_of_its_present_state() -> None:
    """Over the wire a view keeps its shape and type; nothing but its views can be looked at."""
    robot = robot_with(Faults())
    interface = robot.world.spec.interface
    views = {"picture": ArraySpec((2, 2, 3), "uint8"), "cloud": ArraySpec((4, 3))}
    robot.world.spec = replace(robot.world.spec, interface=replace(interface, views=views))
    cloud = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0))
    shown = {"picture": torch.arange(12, dtype=torch.uint8).view(1, 2, 2, 3), "cloud": cloud}
    robot.world.look = lambda keys, rows=None: {key: shown[key] for key in keys}
    robot._owner, client = (connection := socket.socket()), ProxyRobot("nowhere.sock")
    client.spec = RobotSpec("robot", robot.world.spec.interface)
    client._ask = lambda message, timeout_s: decode(encode(robot._answer(connection, message)))  # type: ignore
    seen = client.look(("picture", "cloud"))
    assert seen["picture"].dtype == np.uint8 and seen["cloud"].dtype == np.float32
    for key, view in shown.items():
        np.testing.assert_array_equal(seen[key], view[0].numpy())
    for keys in (["state"], "picture", [["picture"]], None):
        with pytest.raises(ScoreError, match=r"the robot's views are \['cloud', 'picture'\]"):
            robot._answer(connection, {"do": "look", "keys": keys})
    connection.close()
