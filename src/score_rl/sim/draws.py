"""Draws from a domain: one robot per robot seed, one episode per episode seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from score_rl.core.seeding import rng
from score_rl.sim.domain import Domain
from score_rl.sim.parameters import Parameters

_STANDARD = {"normal": np.random.Generator.standard_normal, "uniform": np.random.Generator.random}


@dataclass(frozen=True)
class _Columns:
    """Distributions of an episode, all parameters side by side; every array is (count,)."""

    start: np.ndarray
    """Value without any draw of the robot: nominal, or 0 where the episode draws."""
    offset: np.ndarray
    factor: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    """See `Distribution.draw` and `Distribution.scale`; zeros where the episode draws nothing."""
    kinds: Mapping[str, np.ndarray]
    """Kind -> (count,) bool, which numbers need its standard draws."""


class Draws:
    """What a domain draws for the robot and the objects of one task."""

    def __init__(self, domain: Domain, parameters: Parameters) -> None:
        """Raises ScoreError where the domain speaks of what the task does not have (see `Domain.resolved`)."""
        self.domain, self.parameters = domain.resolved(parameters), parameters

    def robot(self, robot_seed: int) -> dict[str, np.ndarray]:
        """The systematic part of one robot: {parameter: (size,)}.

        Every parameter has a stream of its own, so that a new parameter in the file leaves the others' draws alone.
        """
        values = {}
        for name, distribution in self.domain.robot.items():
            parameter, standard = self.parameters[name], _STANDARD.get(distribution.kind)
            offset, factor = map(np.array, distribution.draw)
            drawn = standard(rng("robot", robot_seed, parameter.key), parameter.size) if standard else 0.0
            values[name] = offset + factor * (drawn if standard else np.zeros(parameter.size))
        return values

    def episodes(
        self, robot: Mapping[str, np.ndarray], seeds: Sequence[int], names: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Parameters of k episodes of a robot: {parameter: (k, size)}, clipped to their physical bounds.

        Every parameter has its own place in an episode's streams, so here too one more leaves the others alone.
        names: only these; all by default.
        """
        parameters, columns, start = self.parameters, self._columns, self._columns.start.copy()
        for name, systematic in robot.items():
            start[parameters.slices[name]] = systematic
        standard = np.zeros((len(seeds), parameters.count))
        for kind, mine in columns.kinds.items():
            drawn = np.stack([_STANDARD[kind](rng("episode", seed, kind), parameters.count) for seed in seeds])
            standard[:, mine] = drawn[:, mine]
        values = start + (columns.offset + columns.factor * standard)
        values = np.clip(values, parameters.low, parameters.high)
        return {name: values[:, parameters.slices[name]] for name in names or parameters}

    def scores(self, robot: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Parameters {name: (k, size)} of episodes as standard scores (k, told), for a privileged critic.

        Those that it is told in the order of `Parameters`, 0 for what does not vary: the layout is the same for
        every domain, so that a critic can go on from one to the next.
        """
        columns, scores = self._columns, np.concatenate([values[name] for name in self.parameters], axis=1)
        for name, systematic in robot.items():
            scores[:, self.parameters.slices[name]] -= systematic
        scores -= columns.centre
        scores = np.divide(scores, columns.size, out=np.zeros_like(scores), where=columns.size > 0)
        return scores[:, : self.parameters.told]

    @cached_property
    def _columns(self) -> _Columns:
        """The episode's distributions, all parameters side by side."""
        table = np.zeros((5, self.parameters.count))
        kinds = {kind: np.zeros(self.parameters.count, bool) for kind in _STANDARD}
        for name, parameter in self.parameters.items():
            mine, distribution = self.parameters.slices[name], self.domain.episode.get(name)
            if distribution is None:
                table[0, mine] = parameter.nominal
                continue
            for row, values in enumerate((*distribution.draw, *distribution.scale), start=1):
                table[row, mine] = values
            if distribution.kind in kinds:
                kinds[distribution.kind][mine] = True
        return _Columns(*table, {kind: mine for kind, mine in kinds.items() if mine.any()})
