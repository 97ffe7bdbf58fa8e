"""What happens between a command and the servos' targets: delay, lag, play, gears that yield; batched numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from score_rl.sim.robot import Robot


class Actuation:
    """Turns one command per control step into servo targets per physics step, for n environments.

    command -> dead time -> first-order lag -> backlash (play of full width b) -> compliance.
    In the physics step in which a command arrives it counts in proportion to the time that is left of the step, so
    that trajectories depend smoothly on the delay (`score_rl.real2sim`). The lag is integrated exactly for a
    target that is constant within a physics step: x += (1 - exp(-dt / lag)) (target - x). Play moves its output
    only when the input pushes it: the output stays within b / 2 of the input.
    """

    def __init__(self, num_envs: int, num_joints: int, substeps: int, timestep_s: float):
        self._substep_times = np.arange(substeps) * timestep_s
        self._timestep_s = timestep_s
        shape = (num_envs, num_joints)
        self.previous = np.zeros(shape)
        """Command of the control step before this one."""
        self._lagged = np.zeros(shape)
        self._output = np.zeros(shape)
        self.delay_s = np.zeros(num_envs)
        self.lag_s = np.zeros(num_envs)
        self.backlash_rad = np.zeros(shape)
        self.compliance_rad_nm = np.zeros(shape)
        self.hysteresis_nm = np.zeros(shape)
        self._carried_nm = np.zeros(shape)

    def reset(self, rows: np.ndarray, command: np.ndarray) -> None:
        """Hold `command` (k, a) in the given rows, everything settled and without load."""
        self.previous[rows] = self._lagged[rows] = self._output[rows] = command
        self._carried_nm[rows] = 0

    def begin(self, rows: np.ndarray, robot: Robot, values: Mapping[str, np.ndarray], command: np.ndarray) -> None:
        """Start episodes with parameters {name: (k, size)} in the rows (k,), which hold `command` (k, a)."""
        self.delay_s[rows], self.lag_s[rows] = values["robot.delay_s"][:, 0], values["robot.lag_s"][:, 0]
        self.backlash_rad[rows] = robot.per_joint(values, "backlash_rad", 0.0)
        self.compliance_rad_nm[rows] = robot.per_joint(values, "compliance_rad_nm", 0.0)
        self.hysteresis_nm[rows] = robot.per_joint(values, "hysteresis_nm", 0.0)
        self.reset(rows, command)

    def targets(
        self, command: np.ndarray, late_s: np.ndarray | float = 0.0, torque_nm: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Servo targets (n, substeps, a) for one control step of commands (n, a).

        late_s: (n,) by which this step's command comes later than `delay_s`. torque_nm: (n, a) of the servos now.
        """
        # What no environment has is skipped; it would change nothing, to the bit.
        delay_s = self.delay_s + late_s
        delayed, lagging, playing = delay_s.any(), self.lag_s.any(), self.backlash_rad.any()
        with np.errstate(divide="ignore"):
            decay = np.exp(-self._timestep_s / self.lag_s)[:, None]  # 0 where there is no lag
        half_play = self.backlash_rad / 2
        result = np.empty((len(command), len(self._substep_times), command.shape[1]))
        for k, time_s in enumerate(self._substep_times):
            target = command
            if delayed:
                arrived = np.clip((time_s - delay_s) / self._timestep_s + 1, 0, 1)[:, None]
                target = command + (1 - arrived) * (self.previous - command)
            self._lagged[:] = target + decay * (self._lagged - target) if lagging else target
            if playing:
                np.clip(self._output, self._lagged - half_play, self._lagged + half_play, out=self._output)
            else:
                self._output[:] = self._lagged
            result[:, k] = self._output
        self.previous[:] = command
        if self.compliance_rad_nm.any():
            low, high = torque_nm - self.hysteresis_nm, torque_nm + self.hysteresis_nm
            np.clip(self._carried_nm, low, high, out=self._carried_nm)
            result -= (self.compliance_rad_nm * self._carried_nm)[:, None]
        return result
