"""What a steering run is told: its settings, and the worlds that it learns in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from score_rl.contracts import COMMAND, FlowPolicy, World
from score_rl.core import ranks
from score_rl.core.chunks import check_fit
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, NonNegative, Seed, Share
from score_rl.core.records import validate
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.networks import check_network
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.start import StartConfig

Between = Literal["base", "hold"]


@dataclass(frozen=True)
class SteerConfig:
    """Everything that determines a steering run besides policy and worlds."""

    seed: Seed = 0
    """Training seed: initial weights, episodes and all noise follow from it."""
    execute_steps: Count = 8
    """k: control steps that run of every chunk before the next decision."""
    decisions: Count = 38
    """Decisions per environment and iteration. decisions x execute_steps should cover the world's time limit, so
    that every iteration sees episodes from their start to their end."""
    latent: LatentConfig = field(default_factory=LatentConfig)
    """What part of the latent is chosen, and its bound."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The learner."""
    prior_kl_coefficient: NonNegative = 0.0
    """Weight of KL(N(mu, sigma^2) || N(0, I)) on real observations [0.05 in the paper, as an option]: in states that
    were never simulated, fall back to the base policy. Needs `real_observations`."""
    prior_kl_batch: Count = 256
    """Real observations per gradient step [256]."""
    hinge_coefficient: NonNegative = 0.0
    """Weight of max(0, E|w|^2 / d - 1), by which the actor's coordinates w (d) leave the prior's typical set: a soft
    limit, where the latent's bound is a hard one."""
    between_decisions: Between = "base"
    """What an episode does that begins while the other rows are inside a chunk, until the next decision. base: it
    runs a chunk of the base policy. hold: it waits, repeating the robot's last command; the cheaper choice where
    actions are absolute targets."""
    start: StartConfig = field(default_factory=StartConfig)
    """The actor before the first update, for score alone."""
    reference_share: Share = 0.05
    """Share of the last world's budget that each comparison of score with z = 0 (and with the ticket that it started
    from) may take on top, once before training and once behind it: whole roll-outs, 256 episodes at most. Where the
    constant latent succeeds more often, it is what the run leaves. Where the share does not reach for one roll-out,
    nothing is compared. 0: never."""
    checkpoint_every: Count = 1
    """Iterations between two checkpoints."""


@dataclass(frozen=True)
class Stage:
    """One world to learn in. Several stages run one after the other, each from the weights of the one before:
    e.g. first a calibrated twin without disturbances, then one with light randomisation."""

    world: World
    """The simulated twin."""
    control_steps: int
    """Budget, filler steps included; it is never exceeded (but one iteration always runs)."""

    def iterations(self, config: SteerConfig) -> int:
        """Iterations that fit into the budget."""
        return max(1, self.control_steps // self.steps_per_iteration(config))

    def steps_per_iteration(self, config: SteerConfig) -> int:
        """Control steps of one iteration, of all ranks."""
        return ranks.count() * self.world.spec.num_envs * config.decisions * config.execute_steps


def check_settings(policy: FlowPolicy, stages: Sequence[Stage], config: SteerConfig, real_observations: bool) -> None:
    """Raise ScoreError for everything that can be wrong before the first step.

    real_observations: whether there will be some.
    """
    validate(config)
    check_network(config.ppo.hidden, config.ppo.activation)
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
    if config.between_decisions == "hold" and COMMAND not in policy.spec.interface.observation:
        raise ScoreError(f"between_decisions = hold needs a policy that sees the last command ({COMMAND!r})")
    if config.prior_kl_coefficient > 0 and not real_observations:
        raise ScoreError("prior_kl_coefficient > 0 needs real_observations")
