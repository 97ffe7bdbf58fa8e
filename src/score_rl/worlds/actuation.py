"""What happens between a command and the servos' targets: delay, lag and play; batched numpy."""

from __future__ import annotations

import numpy as np


class Actuation:
    """Turns one command per control step into servo targets per physics step, for n environments.

    command -> dead time -> first-order lag -> backlash (play of full width b).
    The lag is integrated exactly for a target that is constant within a physics step.
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

    def reset(self, rows: np.ndarray, command: np.ndarray) -> None:
        """Hold `command` (k, a) in the given rows, everything settled."""
        self.previous[rows] = self._lagged[rows] = self._output[rows] = command

    def targets(self, command: np.ndarray) -> np.ndarray:
        """Servo targets (n, substeps, a) for one control step of commands (n, a)."""
        with np.errstate(divide="ignore"):
            blend = 1 - np.exp(-self._timestep_s / self.lag_s)[:, None]  # lag 0 -> blend 1
        half_play = self.backlash_rad / 2
        result = np.empty((len(command), len(self._substep_times), command.shape[1]))
        for k, time_s in enumerate(self._substep_times):
            arrived = (time_s >= self.delay_s - 1e-9)[:, None]
            self._lagged += blend * (np.where(arrived, command, self.previous) - self._lagged)
            np.clip(self._output, self._lagged - half_play, self._lagged + half_play, out=self._output)
            result[:, k] = self._output
        self.previous[:] = command
        return result
