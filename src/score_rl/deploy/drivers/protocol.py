"""What a robot's driver does. Whoever connects a robot implements `RobotDriver` and names it in an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from score_rl.contracts import Interface


class RobotLost(ConnectionError):
    """The robot does not answer any more; whatever drives it can only give up. It must hold by itself."""


@dataclass(frozen=True)
class RobotSpec:
    """What a connected robot is."""

    name: str
    """Robot type, written into recordings."""
    interface: Interface
    """Keys that it measures and views that it can be asked for, at least those that the policy reads; the commands,
    and the rate at which it expects them."""
    reports_success: bool = False
    """Readings say whether the task's success condition holds."""
    speed: float = 1.0
    """Times real time at which a simulated robot lives; 0: it waits for every command. Hardware: 1."""


@dataclass(frozen=True)
class Reading:
    """One measurement of everything."""

    number: int
    """Counts measurements within an episode: the same number is the same measurement, seen again."""
    measured_at: float
    """`time.monotonic()` of this computer when it was measured."""
    frame: Mapping[str, NDArray[Any]]
    """{key: (*shape)} without views; may hold NaN, which the guard notices."""
    forces_n: NDArray[Any] | None = None
    """Fingertip forces, where they are sensed."""
    success: bool | None = None
    """The success condition holds; None where the robot does not know."""
    ended: str = ""
    """Why the robot ended the episode by itself, e.g. "success" or "fault"; empty while it goes on."""


@runtime_checkable
class RobotDriver(Protocol):
    """One robot, at the other end of whatever wire it has.

    `with driver:` connects, and in any case stops and releases the robot at the end. `command` and `stop` may come
    from the watchdog's thread while `observe` waits in another.

    Capability of robots with views: `look(keys) -> {key: (*shape)}`, those views as of the newest measurement; it is
    asked for once per decision. Raises TimeoutError where they are not there in good time, RobotLost.
    """

    spec: RobotSpec
    """What is at the other end; there once connected."""

    def connect(self) -> RobotSpec:
        """Reach the robot. Raises ScoreError where that fails."""
        ...

    def begin(self, seed: int) -> Reading:
        """Bring robot and scene to the start of an episode, at rest, and return the first measurement.

        On hardware: move home, and let the operator lay out the object. A simulated robot draws it from `seed`.
        """
        ...

    def observe(self, timeout_s: float) -> Reading:
        """The newest measurement; waits up to `timeout_s` for one that was not returned yet. Raises RobotLost."""
        ...

    def command(self, command: NDArray[Any]) -> NDArray[Any]:
        """Send a command (a,) and return what the robot really was sent.

        Raises TimeoutError where the robot does not confirm it (it then holds), RobotLost where it is gone.
        """
        ...

    def stop(self) -> None:
        """Brake, hold and take no more commands until `begin`. May be called at any time, also twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
