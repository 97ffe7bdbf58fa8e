"""Template of a driver for a Franka FR3 with a LEAP hand, through franky (libfranka) and the Dynamixel SDK.

Copy this file into a package of your own, adapt what is marked ADAPT, and name it in that package's pyproject.toml:

    [project.entry-points."score_rl.robots"]
    my_franka_leap = "my_package.franka_leap:make_robot"

    score run BUNDLE --robot my_franka_leap --options arm=172.16.0.2 hand=/dev/ttyUSB0 look=my_package.camera:look

and for a policy that sees poses `pose=my_package.camera:pose` beside it or in its place (docs/deploy.md has both).

It has been written after the two libraries' documentation and has not moved a robot. Before it may: hang the arm
free of everything, check sign and zero of every joint with motions of 0.05 rad, press the emergency stop once in
motion, kill this process once in motion, and only then run a policy, at first with `--guard` limits far below the
data sheet's. Neither library is imported before `connect`, so the file can be read and tested without them.

Who stops what when this process dies: libfranka's connection breaks, and the arm's controller brakes and holds. The
servos of the hand stop by their own bus watchdog, which `LeapHand.connect` sets.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.deploy.drivers.protocol import Reading, RobotLost, RobotSpec
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.robot import robot_interface
from score_rl.sim.sensors import Kinematics

ObjectPose = Callable[[], tuple[Sequence[float], float]]
"""Returns the newest pose (x, y, z, qw, qx, qy, qz) of the object in the arm's base frame [m], and the
`time.monotonic()` at which the camera saw it."""

Look = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]
"""Returns the views {key: (*shape)} of now, at least those of `VIEWS`; its argument (3,) is the palm's position [m],
where points out of sight are put. `score_client.depth.cloud_views` makes them of a depth image."""

# ADAPT: the views of the policy that is to be run; `score info BUNDLE` tells them.
VIEWS = {
    "cloud": ArraySpec((128, 3), unit="m", frame="base", names=("x", "y", "z")),
    "cloud_seen": ArraySpec((1,)),
}
"""What the camera can be asked for, where there is a `Look`."""

HOME_SPEED = 0.1
"""Share of the arm's dynamic limits used on the way to the start of an episode."""

HAND_HOME_S = 2.0
"""Time in which the hand opens to its start posture."""


class FrankaArm:
    """Seven joints, tracked by joint impedance: the counterpart of the simulated position servos."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._tracker: Any = None

    def connect(self) -> None:
        """Needs FCI enabled and the brakes open. Raises ScoreError where franky is missing or the arm refuses."""
        franky = _library("franky", "franky-control")
        self._franky = franky
        try:
            self._robot = franky.Robot(self.address)
            self._robot.recover_from_errors()
        except Exception as error:  # franky raises its own types, which are unknown before it is imported
            raise ScoreError(f"the arm at {self.address} does not answer: {error}") from error
        # ADAPT: forces above which the arm's own reflexes stop it.
        self._robot.set_collision_behavior([20.0] * 7, [30.0] * 6)

    def home(self, joints: Sequence[float]) -> None:
        """Plan and drive to a posture, slowly; returns there. Afterwards the arm follows `send`."""
        self.release()
        self._robot.relative_dynamics_factor = HOME_SPEED
        self._robot.move(self._franky.JointMotion(list(joints)))
        # The same gains as the twin's servos: what calibration identified belongs to them.
        self._tracker = self._franky.JointImpedanceTracker(
            self._robot, stiffness=list(FRANKA_LEAP.kp[:7]), damping=list(FRANKA_LEAP.kd[:7]), period=0.001
        )
        self._tracker.__enter__()
        self.send(joints)

    def joints(self) -> NDArray[Any]:
        """(7,) measured positions [rad]."""
        return np.asarray(self._robot.current_joint_state.position)

    def send(self, joints: Sequence[float]) -> None:
        """Track these positions (7,) [rad] from now on. Raises RobotLost after a reflex or a lost connection."""
        try:
            self._tracker.set_target(list(map(float, joints)))
        except Exception as error:
            raise RobotLost(f"arm: {error}") from error

    def release(self) -> None:
        """Stop tracking; the arm's controller holds."""
        if self._tracker is not None:
            self._tracker.__exit__(None, None, None)
            self._tracker = None


class LeapHand:
    """Sixteen Dynamixel XC330-M288 servos in current-based position control."""

    BAUD_RATE = 4_000_000
    # Rows of the servos' control table (Robotis e-manual): address, bytes.
    OPERATING_MODE, TORQUE_ENABLE = (11, 1), (64, 1)
    GAIN_D, GAIN_P, BUS_WATCHDOG = (80, 2), (84, 2), (98, 1)
    GOAL_CURRENT, GOAL_POSITION, PRESENT_POSITION = (102, 2), (116, 4), (132, 4)
    TICKS_PER_RAD = 4096 / (2 * math.pi)

    # ADAPT: which servo drives which joint of `FRANKA_LEAP.joint_names[7:]`, its direction, and where its zero is.
    # As delivered, a finger's servos are 0 spread, 1 flexion at the knuckle, 2 and 3 the outer joints, and a flat
    # hand reads pi everywhere.
    SERVOS = (1, 0, 2, 3, 5, 4, 6, 7, 9, 8, 10, 11, 12, 13, 14, 15)
    SIGNS = np.ones(16)
    ZEROS_RAD = np.full(16, math.pi)
    CURRENT_LIMIT_MA = 350
    WATCHDOG_20MS = 25
    """The servos stop half a second after the last message."""

    def __init__(self, port: str) -> None:
        self.port = port

    def connect(self) -> None:
        """Open the bus, limit the current, hold. Raises ScoreError where the SDK is missing or the bus is silent."""
        sdk = _library("dynamixel_sdk", "dynamixel-sdk")
        self._bus, self._packets = sdk.PortHandler(self.port), sdk.PacketHandler(2.0)
        if not self._bus.openPort() or not self._bus.setBaudRate(self.BAUD_RATE):
            raise ScoreError(f"the hand's port {self.port} cannot be opened at {self.BAUD_RATE} baud")
        address, size = self.PRESENT_POSITION
        self._positions = sdk.GroupSyncRead(self._bus, self._packets, address, size)
        self._goals = sdk.GroupSyncWrite(self._bus, self._packets, *self.GOAL_POSITION)
        for servo in self.SERVOS:
            self._positions.addParam(servo)
            for row, value in (
                (self.TORQUE_ENABLE, 0),
                (self.OPERATING_MODE, 5),
                (self.BUS_WATCHDOG, 0),
                (self.TORQUE_ENABLE, 1),
                (self.GAIN_P, 600),
                (self.GAIN_D, 200),
                (self.GOAL_CURRENT, self.CURRENT_LIMIT_MA),
                (self.BUS_WATCHDOG, self.WATCHDOG_20MS),
            ):
                self._write(servo, row, value)

    def joints(self) -> NDArray[Any]:
        """(16,) measured positions [rad]. Raises RobotLost."""
        if self._positions.txRxPacket() != 0:
            raise RobotLost(f"hand: no answer on {self.port}")
        address, size = self.PRESENT_POSITION
        ticks = np.array([self._positions.getData(servo, address, size) for servo in self.SERVOS])
        return self.SIGNS * (ticks / self.TICKS_PER_RAD - self.ZEROS_RAD)

    def send(self, joints: NDArray[Any]) -> None:
        """Go to positions (16,) [rad]. Raises RobotLost."""
        ticks = np.rint((self.SIGNS * joints + self.ZEROS_RAD) * self.TICKS_PER_RAD).astype(int)
        self._goals.clearParam()
        for servo, value in zip(self.SERVOS, ticks, strict=True):
            self._goals.addParam(servo, int(value).to_bytes(4, "little", signed=True))
        if self._goals.txPacket() != 0:
            raise RobotLost(f"hand: cannot write to {self.port}")

    def release(self) -> None:
        """Hold the last goal; the bus watchdog freezes the servos when messages end."""
        self._bus.closePort()

    def _write(self, servo: int, row: tuple[int, int], value: int) -> None:
        address, size = row
        write = {1: self._packets.write1ByteTxRx, 2: self._packets.write2ByteTxRx}[size]
        result, error = write(self._bus, servo, address, value)
        if result != 0 or error != 0:
            raise ScoreError(f"servo {servo} of the hand refuses {value} at address {address} ({result}, {error})")


class FrankaLeap:
    """A `RobotDriver` of arm, hand and camera together."""

    def __init__(
        self,
        arm: FrankaArm,
        hand: LeapHand,
        object_pose: ObjectPose | None,
        operator: Callable[[str], Any],
        views: Look | None = None,
    ) -> None:
        """object_pose: None where nobody estimates poses. operator: asks a person to do something and returns when
        it is done, e.g. `input`."""
        self.arm, self.hand, self.object_pose, self.operator, self._views = arm, hand, object_pose, operator, views
        poses = ("object_pose",) if object_pose else ()
        self.spec = RobotSpec(FRANKA_LEAP.name, robot_interface(FRANKA_LEAP, poses, VIEWS if views else None))
        self._kinematics = Kinematics(FRANKA_LEAP, 1, threads=1)
        self._command = np.array(FRANKA_LEAP.home)
        self._palm = np.zeros(3, np.float32)
        self._number, self._moving = 0, False

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.arm.release()
        self.hand.release()

    def connect(self) -> RobotSpec:
        """See `RobotDriver.connect`."""
        self.arm.connect()
        self.hand.connect()
        return self.spec

    def begin(self, seed: int) -> Reading:
        """See `RobotDriver.begin`: the hand opens, the arm goes home, a person lays out the object."""
        home, opened = np.array(FRANKA_LEAP.home), self.hand.joints()
        for share in np.linspace(0, 1, round(HAND_HOME_S * 50)):
            self.hand.send(opened + share * (home[7:] - opened))
            time.sleep(1 / 50)
        self.arm.home(home[:7])
        self.operator(f"Episode {seed}: lay out the object, step back, press Enter. ")
        self._command, self._number, self._moving = home, -1, True
        return self.observe(0.0)

    def observe(self, timeout_s: float) -> Reading:
        """See `RobotDriver.observe`. Everything is read now; the age is that of the oldest part, the pose's."""
        measured_at = time.monotonic()
        joints = np.concatenate([self.arm.joints(), self.hand.joints()])
        # As in the twin, palm and fingertips come from the measured joints through the nominal kinematics.
        palm, fingertips = self._kinematics(joints[None])
        self._palm = palm[0, :3].astype(np.float32)
        self._number += 1
        frame = {
            "state": joints,
            "command": self._command,
            "palm_pose": palm[0],
            "fingertip_pos": fingertips.reshape(-1),
        }
        if self.object_pose is not None:
            frame["object_pose"], measured_at = self.object_pose()
        return Reading(self._number, measured_at, {key: np.asarray(v, dtype=np.float32) for key, v in frame.items()})

    def look(self, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `RobotDriver`: what the camera shows, once per decision."""
        if self._views is None:
            raise ScoreError(f"no camera is connected that shows {', '.join(keys)}: give the option look")
        seen = self._views(self._palm)
        return {key: np.asarray(seen[key], dtype=np.float32) for key in keys}

    def command(self, command: NDArray[Any]) -> NDArray[np.float32]:
        """See `RobotDriver.command`. After `stop` the robot stays where it is, and says so."""
        if self._moving:
            self._command = np.asarray(command, dtype=float)
            self.arm.send(self._command[:7])
            self.hand.send(self._command[7:])
        return self._command.astype(np.float32)

    def stop(self) -> None:
        """See `RobotDriver.stop`: both go on holding the last command (the runtime has braked before)."""
        self._moving = False


def make_robot(arm: str = "172.16.0.2", hand: str = "/dev/ttyUSB0", pose: str = "", look: str = "") -> FrankaLeap:
    """The driver, from options of the command line; pose and look: "module:function" of an `ObjectPose` and, for
    policies that have views, a `Look`. Raises ScoreError for neither."""
    views = _function("look", look) if look else None
    poses = _function("pose", pose) if pose or not look else None
    return FrankaLeap(FrankaArm(arm), LeapHand(hand), poses, input, views)


def _function(option: str, path: str) -> Any:
    module, _, name = path.partition(":")
    if not name:
        raise ScoreError(f"option {option} must look like module:function, not {path!r}")
    return getattr(_library(module, module), name)


def _library(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ScoreError(f"cannot import {name}: install {package} on the robot's computer ({error})") from error
