"""What a run of steering will be, and everything that can be wrong with it, before its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from score_rl.contracts import COMMAND, FlowPolicy, WorldSpec
from score_rl.core.arrays import blank_window
from score_rl.core.chunks import check_fit
from score_rl.core.errors import ScoreError
from score_rl.core.records import validate
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.heads import Head
from score_rl.steering.latent import LatentMap
from score_rl.steering.learning import Sizes
from score_rl.steering.method import OBSERVES, SCORE, Learns, Method, SteeringSpec, Trained
from score_rl.steering.penalties import Penalty
from score_rl.steering.ppo import Learner
from score_rl.steering.start import check_start, start_options


def check(
    policy: FlowPolicy,
    stages: Sequence[Stage],
    config: SteerConfig,
    method: Method = SCORE,
    options: Mapping[str, Any] | None = None,
    initial: Trained | None = None,
    demonstrations: bool = False,
    examples: bool = False,
) -> SteeringSpec:
    """What the policy that `steer` trains will be. Raises ScoreError for what cannot work.

    demonstrations, examples: whether `steer` will be given any.
    """
    check_settings(policy, stages, config)
    world = stages[0].world.spec
    options = dict(options or {}) | start_options(initial, method, config.latent)
    spec = steering_spec(policy, config, method, options, world)
    method.check(policy, spec, demonstrations)
    check_start(method, spec, initial, examples, config.start)
    return spec


def check_learner(
    policy: FlowPolicy, stages: Sequence[Stage], config: SteerConfig, method: Method, spec: SteeringSpec
) -> None:
    """Raise ScoreError for what the learner refuses, which `steer` makes only once a run is open."""
    if method.search is not None:
        return
    device = stages[0].world.spec.device
    sizes = rollout_sizes(spec, stages[0], config, method.make_head(spec, device), iterations_of(stages, config))
    with torch.random.fork_rng(devices=[]):
        make_learner(method, sizes, config, (), policy, spec, device)


def check_settings(policy: FlowPolicy, stages: Sequence[Stage], config: SteerConfig) -> None:
    """Raise ScoreError for everything that can be wrong before the first step."""
    validate(config)
    LatentMap(config.latent, policy.spec.latent_shape)  # raises what is wrong with it
    if not stages:
        raise ScoreError("steering needs at least one stage")
    if not callable(getattr(policy, "fingerprint", None)):
        raise ScoreError(f"{type(policy).__name__} has no fingerprint(), which names it; see `contracts.FlowPolicy`")
    for stage in stages:
        check_fit(policy.spec, stage.world.spec, config.execute_steps)
        if dict(stage.world.spec.critic) != dict(stages[0].world.spec.critic):
            raise ScoreError(f"the critic groups of the stages differ: {[dict(s.world.spec.critic) for s in stages]}")
        config.ppo.minibatch_size(stage.world.spec.num_envs * config.decisions)
        if stage.control_steps < 1:
            raise ScoreError(f"a stage needs a positive budget of control steps, got {stage.control_steps}")
        if config.between_decisions == "hold" and COMMAND not in stage.world.spec.interface.observation:
            raise ScoreError(
                f"between_decisions = hold repeats the last command ({COMMAND!r}), which {stage.world.spec.name} "
                "does not show; use base"
            )


def steering_spec(
    policy: FlowPolicy,
    config: SteerConfig,
    method: Method = SCORE,
    options: Mapping[str, Any] | None = None,
    world: WorldSpec | None = None,
) -> SteeringSpec:
    """What the trained policy will be. world: where it learns, for methods that read what only a simulator knows."""
    device, options, privileged = "cpu" if world is None else world.device, dict(options or {}), {}
    if world is not None and options.get(OBSERVES) == "privileged":
        privileged = {key: array.size for key, array in world.critic.items()}
    with torch.no_grad():
        context_dim = policy.encode(blank_window(policy.spec, device=device)).features.shape[1]
    return SteeringSpec(
        context_dim=context_dim,
        chunk_shape=policy.spec.chunk_shape,
        latent_shape=policy.spec.latent_shape,
        latent=config.latent,
        hidden=config.ppo.hidden,
        activation=config.ppo.activation,
        layer_norm=config.ppo.layer_norm,
        execute_steps=config.execute_steps,
        base=policy.fingerprint(),
        method=method.name,
        options=options,
        privileged=privileged,
    )


def make_learner(
    method: Method,
    sizes: Sizes,
    config: SteerConfig,
    penalties: tuple[Penalty, ...],
    policy: FlowPolicy,
    spec: SteeringSpec,
    device: str,
) -> Learns:
    """The method's own learner, or PPO with these penalties; initial weights come from torch's global generator."""
    if method.make_learner is None:
        return Learner(sizes, config.ppo, config.execute_steps, penalties, device)
    return method.make_learner(sizes, config.ppo, policy, spec, device)


def rollout_sizes(spec: SteeringSpec, stage: Stage, config: SteerConfig, head: Head, iterations: int) -> Sizes:
    """What a learner needs to know of the rollouts of a stage."""
    world = stage.world.spec
    return Sizes(
        context=spec.context_dim,
        critic=sum(array.size for array in world.critic.values()),
        action=head.dim,
        envs=world.num_envs,
        decisions=config.decisions,
        iterations=iterations,
    )


def iterations_of(stages: Sequence[Stage], config: SteerConfig) -> int:
    """Iterations of all stages."""
    return sum(stage.iterations(config) for stage in stages)
