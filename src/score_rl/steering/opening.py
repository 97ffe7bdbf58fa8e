"""How episodes of a roll-out begin: a share of them is played to some point before the learner decides.

By the base policy (Xiao et al. 2025, arXiv 2511.00091), whose latents are fresh draws of the prior, or by a
successful demonstration: its episode's seed places everything as it was, and its actions are sent again. Decisions
that lead there are run and counted, and no learner learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Share
from score_rl.data.dataset import ACTION, Dataset


@dataclass(frozen=True)
class OpeningConfig:
    """Who plays the beginnings of episodes, and how many."""

    share: Share = 0.0
    """Share of the environments whose first episode of a roll-out is played to some point. 0: none."""
    by: Literal["base", "demonstrations"] = "base"
    """Who plays: the base policy, or the actions of a successful demonstration from where it began."""
    decisions: Count = 12
    """The most decisions that are played; each opening has a number drawn from 1 to it, or to what the demonstration
    has but for its last decision."""


class Openings:
    """The openings of one roll-out after the other; every draw comes from torch's global generator."""

    def __init__(
        self, config: OpeningConfig, policy: FlowPolicy, execute: int, bound: float, recorded: Dataset | None
    ) -> None:
        """Raises ScoreError where demonstrations are asked for, and there are none that succeeded, or whose seeds are
        known."""
        self.config, self.policy, self.execute, self.bound = config, policy, execute, bound
        if config.by == "base" or config.share == 0:
            return
        if recorded is None or not {"seed", "success"} <= set(recorded.extra):
            raise ScoreError("opening.by = demonstrations needs demonstrations whose seed and success are recorded")
        longer = recorded.lengths > 2 * execute
        self.chosen = [e for e in range(recorded.num_episodes) if recorded.extra["success"][e] and longer[e]]
        if not self.chosen:
            raise ScoreError("opening.by = demonstrations needs successful demonstrations, and there is none")
        self.recorded = recorded
        self.actions = torch.from_numpy(recorded.columns[ACTION]).float()

    def begin(self, seeds: Sequence[int]) -> list[int]:
        """Draw the openings of a roll-out; the seeds (n,) to start it from."""
        n, config = len(seeds), self.config
        seeds = list(seeds)
        opened = torch.rand(n) < config.share
        most = torch.full((n,), config.decisions)
        if config.by == "demonstrations":
            self.played = torch.tensor(self.chosen)[torch.randint(len(self.chosen), (n,))]
            whole = torch.tensor([int(self.recorded.lengths[e]) for e in self.played]) // self.execute - 1
            most = torch.minimum(most, whole)
            for row in opened.nonzero().flatten().tolist():
                seeds[row] = int(self.recorded.extra["seed"][int(self.played[row])])
        self.left = torch.where(opened, 1 + (torch.rand(n) * most).long(), 0)
        self.decided = 0
        return seeds

    def chunk(self, context: Context, noise: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """What is run in place of the learner's chunk (n, h, a), and which rows (n,) bool are still the opening's."""
        opens = self.left > 0
        if bool(opens.any()):
            if self.config.by == "base":
                played = self.policy.decode(context, noise.clamp(-self.bound, self.bound))
            else:
                first = (
                    torch.tensor([int(self.recorded.starts[e]) for e in self.played]) + self.decided * self.execute
                )
                last = torch.tensor([int(self.recorded.ends[e]) for e in self.played]) - 1
                frames = torch.minimum(first[:, None] + torch.arange(chunk.shape[1]), last[:, None])
                played = self.actions[frames]
            chunk = torch.where(opens.view(-1, 1, 1), played, chunk)
        return chunk, opens

    def advance(self, done: Tensor) -> None:
        """A decision lies behind; an opening ends with its episode."""
        self.decided += 1
        self.left = torch.where(done, 0, (self.left - 1).clamp_min(0))
