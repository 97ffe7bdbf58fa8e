"""Where steering starts: at the prior, at a ticket, or at cloned latents (flow reversal).

- The prior: the actor's mean is 0 and its std 1, so that every decision's latent is the base policy's.
- A ticket (`methods.base_ticket`): the mean is the ticket's chosen coordinates in every state, and every decision
  keeps the ticket's other modes, so that iteration 0 at the mean is the ticket exactly.
- Flow reversal (Tang et al. 2026, arXiv 2606.13675): chunks that are worth imitating are mapped back to latents that
  the base policy decodes to them, or to the nearest that it would do, and the mean is fitted to these.
- A policy of the same kind: its mean and, unless `StartConfig.std` says otherwise, its standard deviation.

`StartConfig.std` narrows the exploration around any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy, World
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Positive, Share
from score_rl.core.records import validate
from score_rl.core.seeding import derive_seed, torch_generator
from score_rl.data.windows import WindowBatch
from score_rl.steering.heads import LatentHead
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.method import COMPLEMENT, Decider, Method, SteeringSpec, Trained
from score_rl.steering.networks import GaussianActor
from score_rl.steering.rollouts import Played, play_decider
from score_rl.steering.ticket import TicketPolicy

Reversal = Literal["nearest", "inverse"]

TOLERANCE = 1e-3
"""Largest error of an inverted chunk, in normalised units: flow reversal needs no more."""


@dataclass(frozen=True)
class StartConfig:
    """The actor before the first update."""

    std: Positive = 1.0
    """Standard deviation of the actor; 1 is the prior's. A smaller one explores around a ticket or cloned latents."""
    demonstrations: Share = 0.0
    """Share of the successful demonstrations, the shortest first, whose inverted latents are cloned. 0: none."""
    episodes: Count = 128
    """Episodes that a policy of another method, given as start, plays in the first world; the latents of its
    successes are cloned."""
    examples: Count = 2048
    """Most chunks that are mapped back to latents, evenly spaced over all of them."""
    reversal: Reversal = "nearest"
    """How. nearest: the latent of the nearest of `samples` chunks that the base policy draws in the same state, so
    that it always is one of the prior's. inverse: the exact inverse of the flow; of a chunk that the base policy
    would hardly draw it lies far outside the prior."""
    samples: Count = 64
    """Draws per chunk, for nearest."""
    reach: Positive = 2.0
    """Cloned coordinates are clamped to +-reach, in the prior's standard deviations."""
    steps: Count = 1000
    """Gradient steps of the cloning."""
    batch: Count = 256
    """Examples per gradient step."""
    learning_rate: Positive = 1e-3
    """Adam step size of the cloning."""


def start_options(initial: Trained | None, method: Method, latent: LatentConfig) -> dict[str, Any]:
    """SCORE's option `complement`, where it chooses a part of the latent only: the ticket (l, w) that it starts from,
    or once started from."""
    if initial is None or not method.steers or latent.kind == "full":
        return {}
    if not isinstance(initial, TicketPolicy):
        return {name: value for name, value in initial.spec.options.items() if name == COMPLEMENT}
    return {COMPLEMENT: [[float(value) for value in row] for row in initial.latent.cpu()]}


def check_start(
    method: Method, spec: SteeringSpec, initial: Trained | None, cloned: bool, config: StartConfig
) -> None:
    """Raise ScoreError for a start that cannot be. cloned: whether examples are given to clone."""
    validate(config, "start")
    if initial is not None and initial.spec.base != spec.base:
        raise ScoreError(f"cannot start from another base policy's: {initial.spec.base[:12]} is not {spec.base[:12]}")
    if initial is not None and cloned:
        raise ScoreError("a start is either a policy or demonstrations to clone, not both")
    if initial is not None and initial.spec.method == spec.method and initial.spec != spec:
        raise ScoreError(f"cannot start from another policy: {initial.spec} is not {spec}")
    if method.steers:
        return
    given = "cloned latents" if cloned else f"std {config.std}" if config.std != 1.0 else ""
    if initial is not None and initial.spec != spec:
        given = f"{initial.spec}"
    if given:
        raise ScoreError(f"{spec.method} cannot start from {given}: the starts of steering are those of score")


def prepare(
    actor: GaussianActor,
    head: LatentHead,
    policy: FlowPolicy,
    spec: SteeringSpec,
    world: World,
    initial: Trained | None,
    examples: WindowBatch | None,
    config: StartConfig,
    seed: int,
) -> dict[str, Any]:
    """Put the mean of SCORE's actor where it starts, in place; figures of how it came there. See `StartConfig`.

    initial: a ticket, or a policy of another method whose successes in the world are cloned. examples: what else is.
    """
    figures: dict[str, Any] = {}
    if isinstance(initial, TicketPolicy):
        actor.start_at(head.map.coordinates(initial.latent.unsqueeze(0))[0], 1.0)
    elif initial is not None:
        decider = list(initial.deciders(policy).values())[-1]
        examples, spent = successes(world, decider, spec.execute_steps, config.episodes, seed)
        figures["start_control_steps"] = spent
    if examples is not None:
        reversal = reversed_latents(policy, examples, config, spec.latent.bound, seed)
        figures |= clone(actor, head.map, *reversal, config, seed)
    return figures


@torch.no_grad()
def successes(
    world: World, decider: Decider, execute_steps: int, episodes: int, seed: int
) -> tuple[WindowBatch, int]:
    """Windows and chunks of the episodes in which a policy succeeds, and the control steps that it took.

    Raises ScoreError where it never does.
    """
    n = world.spec.num_envs
    windows: list[dict[str, Tensor]] = []
    chunks: list[Tensor] = []
    spent = 0
    for first in range(0, episodes, n):
        seeds = [derive_seed("start", seed, first + row) for row in range(n)]
        played = play_decider(world, decider, seeds, execute_steps, keep=True)
        spent += played.control_steps
        for window, chunk, rows in _won(played):
            windows.append({key: values[rows] for key, values in window.items()})
            chunks.append(chunk[rows])
    if not sum(len(chunk) for chunk in chunks):
        raise ScoreError(f"the policy to start from succeeds in none of {episodes} episodes in {world.spec.name}")
    observation = {key: torch.cat([window[key] for window in windows]) for key in windows[0]}
    action = torch.cat(chunks)
    return WindowBatch(observation, action, torch.zeros(action.shape[:2], dtype=torch.bool)), spent


@torch.no_grad()
def reversed_latents(
    policy: FlowPolicy, examples: WindowBatch, config: StartConfig, bound: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Features (m, c) of the examples and latents (m, l, w) within +-bound that decode to their chunks, or nearly.

    Chunks that are padded behind an episode's end are left out, and so are those that the inversion does not reach.
    Raises ScoreError where the policy cannot be reversed or nothing is left.
    """
    needs = "invert" if config.reversal == "inverse" else "normalize"
    if not hasattr(policy, needs):
        raise ScoreError(f"{type(policy).__name__} has no `{needs}` (see contracts.FlowPolicy): no flow to reverse")
    whole = (~examples.is_pad.any(dim=1)).nonzero().flatten()
    if len(whole) > config.examples:
        whole = whole[torch.linspace(0, len(whole) - 1, config.examples).round().long()]
    if not len(whole):
        raise ScoreError("there is no whole chunk to start from: every one reaches behind its episode's end")
    context = policy.encode({key: values[whole] for key, values in examples.observation.items()})
    if config.reversal == "nearest":
        return context.features, nearest_latents(policy, context, examples.action[whole], config.samples, bound, seed)
    inverted = policy.invert(context, examples.action[whole], TOLERANCE)
    reached = inverted.converged.nonzero().flatten()
    if not len(reached):
        raise ScoreError(f"none of {len(whole)} chunks could be inverted to a latent of the base policy")
    return context.features[reached], inverted.latent[reached].clamp(-bound, bound)


def nearest_latents(
    policy: FlowPolicy, context: Context, chunk: Tensor, samples: int, bound: float, seed: int
) -> Tensor:
    """Of `samples` draws of the prior in every context, the latent (l, w) whose chunk is nearest: (m, l, w).

    chunk (m, h, a) in physical units; distances are Euclidean in normalised actions.
    """
    wanted, generator = policy.normalize(context, chunk), torch_generator("reversal", seed)
    best = torch.full((len(chunk),), torch.inf, device=chunk.device)
    found = torch.zeros(len(chunk), *policy.spec.latent_shape, device=chunk.device)
    for _ in range(samples):
        latent = torch.randn(len(chunk), *policy.spec.latent_shape, generator=generator).clamp(-bound, bound)
        latent = latent.to(chunk.device)
        drawn = policy.normalize(context, policy.decode(context, latent))
        distance = (drawn - wanted).flatten(1).norm(dim=1)
        closer = distance < best
        found = torch.where(closer.view(-1, 1, 1), latent, found)
        best = torch.minimum(best, distance)
    return found


def clone(
    actor: GaussianActor, latent: LatentMap, features: Tensor, latents: Tensor, config: StartConfig, seed: int
) -> dict[str, float]:
    """Fit the actor's mean to the chosen coordinates of latents (m, l, w) at features (m, c); figures of the fit."""
    targets = latent.coordinates(latents).clamp(-config.reach, config.reach)
    optimizer = torch.optim.Adam(actor.parameters(), lr=config.learning_rate)
    generator = torch_generator("clone", seed)
    with torch.enable_grad():
        for _ in range(config.steps):
            rows = torch.randint(len(features), (config.batch,), generator=generator).to(features.device)
            loss = (actor.mean_std(features[rows])[0] - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        error = (actor.mean_std(features)[0] - targets).square().mean()
    return {
        "start_examples": len(features),
        "start_error": float(error),
        "start_square": float(targets.square().mean()),
    }


def _won(played: Played) -> list[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """(window, chunk, rows that belong to a successful first episode) of every decision."""
    return [
        (dict(window), chunk, (played.success & alive).nonzero().flatten())
        for window, chunk, alive in zip(played.windows, played.chunks, played.alive)
    ]
