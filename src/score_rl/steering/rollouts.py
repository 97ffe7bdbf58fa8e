"""Whole episodes of a decision rule in a world, without learning: what searches and clones learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from score_rl.contracts import COMMAND, PolicySpec, Window, World
from score_rl.core.chunks import ChunkResult, ChunkRunner, Episode, Filler
from score_rl.steering.method import Decider
from score_rl.steering.policy import decision_noise

Decide = Callable[[Window, int], Tensor]
"""Chunks (n, h, a) for a window and the number of the decision in its episodes."""


@dataclass(frozen=True)
class Played:
    """The first episode of every environment."""

    success: Tensor
    """(n,) bool: success at the end, without a protective stop or a numerical failure."""
    steps: Tensor
    """(n,) int64: control steps until success first held; those of the episode where it failed."""
    control_steps: int
    """Control steps that this took, of all environments, those behind their first episodes included."""
    windows: list[Window]
    """What every decision read; empty unless it was asked for."""
    chunks: list[Tensor]
    """What it decided (n, h, a); empty likewise."""
    alive: list[Tensor]
    """(n,) bool: it belongs to the first episode; empty likewise."""


@torch.no_grad()
def play(
    world: World,
    spec: PolicySpec,
    decide: Decide,
    seeds: Sequence[int],
    execute_steps: int,
    keep: bool = False,
) -> Played:
    """Run one episode per environment, seeds (n,), until all have ended. keep: also return every decision."""
    waits = COMMAND in world.spec.interface.observation
    runner = ChunkRunner(world, spec, execute_steps, filler=None if waits else zeros(spec))
    runner.start(seeds)
    finished: dict[int, Episode] = {}
    windows: list[Window] = []
    chunks: list[Tensor] = []
    alive: list[Tensor] = []
    decisions = 0
    while len(finished) < world.spec.num_envs:
        chunk = decide(runner.window, decisions)
        if keep:
            windows.append(runner.window)
            chunks.append(chunk)
            alive.append(torch.tensor([row not in finished for row in range(len(chunk))]))
        runner.execute(chunk)
        decisions += 1
        finished |= {e.env: e for e in runner.take_episodes() if e.index == 0}
    ended = [finished[row] for row in range(world.spec.num_envs)]
    return Played(
        success=torch.tensor([clean_success(e) for e in ended]),
        steps=torch.tensor([e.steps_to_success if clean_success(e) else e.steps for e in ended]),
        control_steps=decisions * execute_steps * world.spec.num_envs,
        windows=windows,
        chunks=chunks,
        alive=alive,
    )


def play_decider(
    world: World, decider: Decider, seeds: Sequence[int], execute_steps: int, keep: bool = False
) -> Played:
    """`play` of a policy, whose noise is that of its seeds in every evaluation (`steering.policy.decision_noise`)."""
    spec = decider.spec

    def decide(window: Window, decision: int) -> Tensor:
        noise = decision_noise(seeds, decision, spec.latent_shape).to(world.spec.device)
        return decider.decide(window, noise).chunk

    return play(world, spec, decide, seeds, execute_steps, keep)


def clean_success(episode: Episode) -> bool:
    """Success at the end of an episode that no protective stop and no numerical failure ended."""
    return episode.success_end and not episode.info.get("fault", 0.0) and not episode.info.get("nan", 0.0)


def decided_success(result: ChunkResult) -> Tensor:
    """(n,) bool: the same of decisions: their episode ended in success."""
    flags = [result.info[name] > 0 for name in ("fault", "nan") if name in result.info]
    failed = torch.stack([torch.zeros_like(result.done), *flags]).any(dim=0)
    return result.done & result.success & ~failed


def batch_cost(world: World, execute_steps: int) -> int:
    """The most control steps that `play` takes: every environment up to the time limit, in whole decisions."""
    return world.spec.num_envs * -(-world.spec.time_limit // execute_steps) * execute_steps


def zeros(policy: PolicySpec) -> Filler:
    """What a row does behind its first episode in a world that shows no command to repeat."""

    def filler(window: Window) -> Tensor:
        first = next(iter(window.values()))
        return torch.zeros(len(first), *policy.chunk_shape, device=first.device)

    return filler
