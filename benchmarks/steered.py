"""What benchmarks of a trained steering policy share: which policy, on which robot, in which episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from score_rl.contracts import FlowPolicy
from score_rl.pipeline.inputs import steering_bundle
from score_rl.policies.open import open_policy
from score_rl.steering.method import Trained
from score_rl.steering.methods import load_trained


@dataclass(frozen=True)
class Steered:
    """A trained policy, and the episodes that it plays."""

    robot_seed: int = 101
    """Which robot of the world."""
    policy: Path = Path("runs/base")
    """Base policy."""
    steering: Path = Path("runs/steering")
    """Run directory of `score steer`."""
    episodes: int = 200
    """Episodes, the first of `score evaluate`."""
    first_seed: int = 1_000_000
    """Seed of the first."""

    @property
    def seeds(self) -> list[int]:
        """One per episode."""
        return list(range(self.first_seed, self.first_seed + self.episodes))

    def load(self) -> tuple[FlowPolicy, Trained]:
        """Base policy and steering policy."""
        base = open_policy(self.policy)
        return base, load_trained(steering_bundle(self.steering), base)
