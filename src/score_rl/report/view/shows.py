"""What is shown: episodes of policies in a world, side by side on the same seed, or recorded demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import FlowPolicy, PolicySpec, StepResult, Window, World
from score_rl.core.chunks import advance_window, check_fit, start_window
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import OBSERVATION, Dataset
from score_rl.sim.state import Configuration
from score_rl.sim.task import Task
from score_rl.steering.heads import Decision
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.method import Decider
from score_rl.steering.policy import decision_noise


@dataclass(frozen=True)
class Shot:
    """One lane at one control step."""

    qpos: np.ndarray
    """(nq,) configuration of the scene."""
    time_s: float
    """Since the episode began."""
    force_n: float | None = None
    """Largest contact force on the hand in this control step; None where the world measures none."""
    outcome: str = ""
    """How the episode ended; "" while it runs."""
    clouds: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Views that are point clouds (points, 3), m."""


class Show(Protocol):
    """Something to look at: lanes side by side, one episode after the other."""

    lanes: tuple[str, ...]
    """What stands side by side."""
    model: Any
    """The scene, a compiled `mujoco.MjModel`."""
    period_s: float
    """Of a control step."""

    def episode(self, number: int) -> Iterator[list[Shot]]:
        """Shots of all lanes, control step by control step, of an episode from 0 on."""
        ...


class Dialled:
    """A decider whose latent is set by hand: chosen coordinates from `dials`, everything else 0."""

    def __init__(self, policy: FlowPolicy, latent: LatentConfig) -> None:
        self.spec, self.policy, self.map = policy.spec, policy, LatentMap(latent, policy.spec.latent_shape)
        self.dials = np.zeros(self.map.dim, np.float32)
        """(d,) coordinates, standard deviations of the prior."""

    @property
    def names(self) -> list[str]:
        """Of the coordinates: the actions that they move, where the latent has their width, and the mode."""
        width, actions = self.spec.latent_shape[1], self.spec.interface.action_names
        columns = actions if len(actions) == width else [str(k) for k in range(width)]
        modes = self.map.dim // width
        return [f"{name}, mode {mode}" if modes > 1 else name for mode in range(modes) for name in columns]

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        dials = torch.from_numpy(self.dials).expand(len(noise), -1)
        latent = self.map.clamp(self.map.expand(dials))
        return Decision(self.policy.decode(self.policy.encode(window), latent), latent)


class Live:
    """Policies in a world, one environment each, on the same seed and with the same noise."""

    def __init__(self, world: World, deciders: Mapping[str, Decider], execute_steps: int, seed: int = 0) -> None:
        """seed: of the first episode. Raises ScoreError where the world cannot be drawn or does not fit."""
        self.world, self.deciders, self.steps, self.seed = world, deciders, execute_steps, seed
        self.lanes, self.model = tuple(deciders), drawable(world)
        self.policy: PolicySpec = next(iter(deciders.values())).spec
        self.period_s = 1.0 / world.spec.interface.control_rate_hz
        check_fit(self.policy, world.spec, execute_steps)
        if world.spec.num_envs != len(deciders):
            raise ScoreError(f"{len(deciders)} lanes need as many environments, not {world.spec.num_envs}")
        self._clouds = [key for key, a in world.spec.interface.views.items() if len(a.shape) == 2 and a.shape[1] == 3]

    def episode(self, number: int) -> Iterator[list[Shot]]:
        """See `Show`: until every lane has ended; one that ended earlier stays as it was."""
        seeds = [self.seed + number] * len(self.lanes)
        observation = self.world.reset(seeds)
        window = start_window(observation.actor, self.policy.interface.observation, self.policy.history)
        shots = self._shots(0)
        yield shots
        step = 0
        while any(not shot.outcome for shot in shots):
            if step % self.steps == 0:
                chunk = self._decide(window, seeds, step // self.steps)
            result = self.world.step(chunk[:, step % self.steps])
            window = advance_window(window, result.observation.actor)
            step += 1
            force = result.info.get("peak_force_n")
            fresh = self._shots(step)
            for lane, shot in enumerate(fresh):
                if force is not None:
                    shot = replace(shot, force_n=float(force[lane]))
                if result.done[lane]:  # what is seen now already is the next episode
                    shot = replace(
                        shots[lane], time_s=shot.time_s, force_n=shot.force_n, outcome=_outcome(result, lane)
                    )
                fresh[lane] = shots[lane] if shots[lane].outcome else shot
            shots = fresh
            yield shots

    @torch.no_grad()
    def _decide(self, window: Mapping[str, Tensor], seeds: Sequence[int], number: int) -> Tensor:
        """A chunk per lane, of its own decider."""
        views = tuple(self.policy.interface.views)
        seen = {key: view.unsqueeze(1) for key, view in self.world.look(views).items()} if views else {}
        noise = decision_noise(seeds, number, self.policy.latent_shape)
        rows = [
            decider.decide({key: values[k : k + 1] for key, values in (window | seen).items()}, noise[k : k + 1])
            for k, decider in enumerate(self.deciders.values())
        ]
        low, high = torch.tensor(self.world.spec.action_low), torch.tensor(self.world.spec.action_high)
        return torch.cat([row.chunk for row in rows]).clamp(low, high)

    def _shots(self, step: int) -> list[Shot]:
        clouds = {key: view.numpy() for key, view in self.world.look(self._clouds).items()} if self._clouds else {}
        return [
            Shot(qpos, step * self.period_s, clouds={key: points[row] for key, points in clouds.items()})
            for row, qpos in enumerate(self.world.qpos())
        ]


class Recorded:
    """Demonstrations of a simulated task: measured joints, and the objects where the camera saw them."""

    lanes = ("demonstration",)

    def __init__(self, dataset: Dataset, task: Task, model: Any) -> None:
        """Raises ScoreError where the dataset lacks the robot's joints, or its objects' poses are none."""
        self.dataset, self.model, self.period_s = dataset, model, 1.0 / dataset.fps
        dataset.require({f"{OBSERVATION}state": (len(task.robot.joint_names),)}, dataset.fps)
        self._home = model.qpos0.copy()
        self._joints = [model.joint(name).qposadr[0] for name in task.robot.joint_names]
        scene = Configuration(model, self._home[None], np.zeros((1, model.nv)))
        poses = {f"{OBSERVATION}{key}": item.name for key, item in task.observed.items()}
        free = {model.body(model.jnt_bodyid[j]).name for j in range(model.njnt) if model.jnt_type[j] == 0}
        dataset.require({key: (7,) for key, name in poses.items() if key in dataset.features and name in free})
        self._objects = {
            key: scene.addresses(name) for key, name in poses.items() if key in dataset.features and name in free
        }

    def episode(self, number: int) -> Iterator[list[Shot]]:
        """See `Show`: the recorded episodes one after the other, and again from the first."""
        frames = self.dataset.episode(number % self.dataset.num_episodes)
        joints = frames[f"{OBSERVATION}state"]
        clouds = [
            key for key, array in self.dataset.features.items() if len(array.shape) == 2 and array.shape[1] == 3
        ]
        last, success = len(joints) - 1, frames.get("next.success")
        for step in range(len(joints)):
            qpos = self._home.copy()
            qpos[self._joints] = joints[step]
            for key, place in self._objects.items():
                qpos[place] = frames[key][step]
            outcome = "" if step < last else "end" if success is None else "success" if success[last] else "failed"
            yield [Shot(qpos, step * self.period_s, None, outcome, {key: frames[key][step] for key in clouds})]


class Still:
    """A task's scene as its episodes begin."""

    lanes = ("task",)

    def __init__(self, world: World, seed: int = 0) -> None:
        """Raises ScoreError where the world cannot be drawn."""
        self.world, self.seed, self.model, self.period_s = world, seed, drawable(world), 1.0

    def episode(self, number: int) -> Iterator[list[Shot]]:
        """See `Show`: one shot."""
        self.world.reset([self.seed + number])
        yield [Shot(self.world.qpos()[0], 0.0, outcome="start")]


def drawable(world: World) -> Any:
    """The world's scene. Raises ScoreError where it has none."""
    if not hasattr(world, "qpos") or not hasattr(world, "model"):
        raise ScoreError(f"{world.spec.name} cannot be drawn: only worlds with a MuJoCo `model` and `qpos()` can")
    return world.model


def _outcome(result: StepResult, lane: int) -> str:
    """How a lane's episode ended with this step."""
    fault = result.info.get("fault")
    if fault is not None and fault[lane]:
        return "protective stop"
    return "success" if result.success[lane] else "failed"
