"""What steering must not end below: z = 0, and the ticket that it began at, as they do in the twin.

They play before the first update, on episodes that training never sees; at the end the learned policy's mean plays
the same ones. Where it succeeds in fewer of them than a constant latent, this latent is what the run leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from score_rl.contracts import FlowPolicy
from score_rl.core import ranks
from score_rl.core.seeding import derive_seed
from score_rl.steering import ticket
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.method import COMPLEMENT, SCORE, Decider, SteeringSpec, Trained
from score_rl.steering.policy import BaseDecider, SteeredDecider, SteeringPolicy, blank_policy
from score_rl.steering.rollouts import batch_cost, play_decider

ZERO, TICKET, STEERED = "base_z0", ticket.NAME, "score_det"
"""The names that they have in result files."""

EPISODES = 256
"""The most that each of them plays, but for one roll-out of more environments."""


def batches(stage: Stage, config: SteerConfig) -> int:
    """Roll-outs of all environments that each may play; 0 where the share of the budget does not reach for one."""
    everywhere = ranks.count() * stage.world.spec.num_envs
    allowed = config.reference_share * stage.control_steps / (ranks.count() * _cost(stage, config))
    return min(int(allowed), max(1, EPISODES // everywhere))


def too_dear(stage: Stage, config: SteerConfig) -> str:
    """Why nothing is compared although a share is set aside for it; empty where something is, or nothing is asked."""
    if not config.reference_share or batches(stage, config):
        return ""
    return (
        "not compared with z = 0, so the run leaves what it learned, better or worse: one roll-out takes "
        f"{ranks.count() * _cost(stage, config)} control steps, more than {config.reference_share:g} of "
        f"{stage.control_steps}; raise --learner.reference-share or --control-steps, or use fewer --num-envs"
    )


def constants(policy: FlowPolicy, stage: Stage, config: SteerConfig, initial: Trained | None) -> dict[str, Any]:
    """What z = 0 and, where steering begins at one, the ticket do: `reference`, or nothing where nothing is played.

    `reference` has `episodes`, `control_steps` (the most that these take, on top of the budget) and `success`, a
    share by name.
    """
    if not (count := batches(stage, config)):
        return {}
    deciders: dict[str, Decider] = {ZERO: BaseDecider(policy, zero=True)}
    if isinstance(initial, ticket.TicketPolicy):
        deciders |= initial.deciders(policy)
    success = {name: _success(decider, stage, config, count) for name, decider in deciders.items()}
    return {"reference": _record(stage, config, count, success)}


def zero_success(
    known: Mapping[str, Any], stage: Stage, config: SteerConfig, stages: Sequence[Stage]
) -> float | None:
    """What z = 0 does, by figures of `constants`; None where it says nothing of the rollouts of a stage.

    That is in other worlds than the last, where it was played, and where rollouts end before episodes do.
    """
    whole = config.decisions * config.execute_steps >= stage.world.spec.time_limit
    return known["reference"]["success"][ZERO] if "reference" in known and stage is stages[-1] and whole else None


def deployed(
    policy: FlowPolicy,
    steering: SteeringPolicy,
    stage: Stage,
    config: SteerConfig,
    known: Mapping[str, Any],
    initial: Trained | None,
) -> tuple[Trained, dict[str, Any]]:
    """The policy that a run leaves, and figures: `deployed`, its name, and the `reference` with the steering's.

    known: figures of `constants`. The steering stays unless a constant latent succeeds in more episodes.
    """
    if "reference" not in known:
        return steering, {}
    count = batches(stage, config)
    success = {STEERED: _success(SteeredDecider(policy, steering), stage, config, count)}
    success |= known["reference"]["success"]
    best = max(success, key=success.get)  # the first of equals: the steering
    figures = {"reference": _record(stage, config, count, success), "deployed": best}
    if best == STEERED:
        return steering, figures
    latent = torch.zeros(policy.spec.latent_shape) if best == ZERO else initial.latent.cpu()
    return constant(policy, steering.spec, latent, stage.world.spec.device), figures


def constant(policy: FlowPolicy, spec: SteeringSpec, latent: Tensor, device: str = "cpu") -> Trained:
    """SCORE's policy of one latent (l, w) in every state: at its mean that latent, sampled the prior around it."""
    if spec.latent.kind != "full":
        kept = [[float(value) for value in row] for row in latent]
        spec = replace(spec, options={**spec.options, COMPLEMENT: kept})
    with torch.random.fork_rng(devices=[]):
        made = blank_policy(policy, spec, SCORE, device)
    made.actor.start_at(made.head.map.coordinates(latent[None].to(device))[0], 1.0)
    return made


def _cost(stage: Stage, config: SteerConfig) -> int:
    return batch_cost(stage.world, config.execute_steps)


def _record(stage: Stage, config: SteerConfig, count: int, success: Mapping[str, float]) -> dict[str, Any]:
    played = count * ranks.count()
    return {
        "world": stage.world.spec.name,
        "episodes": played * stage.world.spec.num_envs,
        "control_steps": played * _cost(stage, config) * len(success),
        "success": dict(success),
    }


def _success(decider: Decider, stage: Stage, config: SteerConfig, count: int) -> float:
    """Share of the reference episodes, of all ranks, in which a decider succeeds."""
    n, won = stage.world.spec.num_envs, 0
    for batch in range(count):
        first = (ranks.rank() * count + batch) * n
        seeds = [derive_seed("reference", config.seed, first + row) for row in range(n)]
        won += int(play_decider(stage.world, decider, seeds, config.execute_steps).success.sum())
    return sum(ranks.gather(won)) / (ranks.count() * count * n)
