"""What a steering run is told: its settings, and the worlds that it learns in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from score_rl.contracts import World
from score_rl.core import ranks
from score_rl.core.ranges import Count, NonNegative, Seed, Share
from score_rl.steering.latent import LatentConfig
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
    """Decisions per environment and iteration. Where decisions x execute_steps are fewer than the world's time limit,
    no iteration sees the end of an episode that is neither won nor stopped; docs/levers.md has what that costs."""
    latent: LatentConfig = field(default_factory=LatentConfig)
    """What part of the latent is chosen, and its bound."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The learner."""
    hinge_coefficient: NonNegative = 0.0
    """Weight of max(0, E|w|^2 / d - 1), by which the actor's coordinates w (d) leave the prior's typical set, for
    score alone: a soft limit of all together, where the latent's bound is a hard one of each; docs/support.md has
    what it does."""
    between_decisions: Between = "base"
    """What an episode does that begins while the other rows are inside a chunk, until the next decision. base: it
    runs a chunk of the base policy. hold: it waits, repeating the robot's last command; the cheaper choice where
    actions are absolute targets."""
    start: StartConfig = field(default_factory=StartConfig)
    """The actor before the first update, for score alone."""
    reference_share: Share = 0.05
    """Share of the last world's budget that each comparison of score with z = 0 (and with the ticket that it started
    from) may take on top, once before training and once behind it: whole roll-outs, of 256 episodes together at most
    (or a single one of more environments). Where the constant latent succeeds more often, it is what the run leaves.
    Where the share does not reach for one roll-out, nothing is compared. 0: never."""
    checkpoint_every: Count = 1
    """Iterations between two checkpoints."""


@dataclass(frozen=True)
class Stage:
    """One world to learn in. Several stages run one after the other, each from the weights of the one before:
    e.g. first a calibrated twin without disturbances, then one with light randomisation."""

    world: World
    """The simulated twin."""
    control_steps: int
    """Budget of the iterations, filler steps included; they never exceed it (but one always runs). Episodes that a
    start is cloned from come on top and are counted with them."""

    def iterations(self, config: SteerConfig) -> int:
        """Iterations that fit into the budget."""
        return max(1, self.control_steps // self.steps_per_iteration(config))

    def steps_per_iteration(self, config: SteerConfig) -> int:
        """Control steps of one iteration, of all ranks."""
        return ranks.count() * self.world.spec.num_envs * config.decisions * config.execute_steps
