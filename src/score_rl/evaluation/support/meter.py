"""Support: could the base policy have done, in this state, what was executed?

Whatever acts (SCORE, a rival, a person), every chunk of actions AS EXECUTED (clipped to the limits, cut where its
episode ended) is compared with chunks that the frozen base policy draws in the same state, clipped and cut alike.

**Nearest sample.** Take m base samples and the executed chunk, m + 1 items in all, and for every item its distance
to the nearest of the others. If the executed chunk is one more base sample, all items are exchangeable, so the rank
of its distance among them is uniform (ties are broken by lot): it is the farthest with probability 1 / (m + 1)
exactly. m = 99 makes the 99 % level exact without any threshold to fit (conformal prediction: Vovk, Gammerman,
Shafer 2005, "Algorithmic Learning in a Random World"). The rank also says the opposite, being more central than
base samples are, and its mean is the area under the ROC curve against base samples of the same state.

Distances are in units of the base policy's own spread: over the chunk's temporal modes, whitened by the (shrunk)
covariance of further base samples of that state, the probes, so that jitter counts where the base policy is smooth.
"Steered" figures look only along the directions into which the steered coordinates of the latent move the chunk, to
first order: a regression over the probes.

**Inversion**: `evaluation.support.inversion`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core.arrays import repeat_rows
from score_rl.core.dct import to_modes
from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Natural, Range
from score_rl.core.records import validate
from score_rl.core.seeding import rng
from score_rl.steering.latent import LATENT_BOUND, LatentConfig, LatentMap

RESOLUTION = 1e-4
"""Smallest spread of a mode, in action units (rad: less than servos and encoders resolve). Where the base policy
always does the same, smaller differences than this are none."""
SHRINKAGE = 0.3
"""Weight of the identity in the covariance that whitens (its estimate has fewer probes than numbers)."""


@dataclass(frozen=True)
class SupportConfig:
    """How support is measured."""

    samples: Count = 99
    """m: base samples that an executed chunk is compared with; the level must be a multiple of 1 / (m + 1)."""
    level: Annotated[float, Range(0, 1, open="both")] = 0.01
    """Share of the base policy's own chunks that counts as off its support: its false alarms."""
    probes: Count = 64
    """Further base samples of every state, for scales and for the steered directions; at least twice as many as
    steering has coordinates are drawn."""
    inversions: Natural = 200
    """Executed chunks that are mapped back to latents, where the policy can be inverted; 0 for none."""
    inversion_iterations: Count = 300
    """Iterations of each step of the inversion; chunks that need more count as not invertible."""
    rows: Count = 16_384
    """Chunks decoded at once: memory against speed, it does not change the figures."""


@dataclass(frozen=True)
class Executed:
    """Chunks of n decisions of several episodes, as they were executed."""

    window: Window
    """{key: (n, frames, *shape)} in which the base policy would have decided."""
    chunk: Tensor
    """(n, k, a) actions that were sent; NaN behind the episode's end."""
    steps: Tensor
    """(n,) int64, actions that were sent: k, or fewer at the episode's end."""
    episode: Tensor
    """(n,) int64, index of the episode."""
    seeds: tuple[tuple[int, int], ...]
    """n pairs (seed of the episode, number of the decision in it), which name the random streams."""

    def of_first(self, episodes: int) -> Executed:
        """The chunks of the first so many episodes."""
        rows = (self.episode < episodes).nonzero().flatten()
        return Executed(
            window={key: values[rows] for key, values in self.window.items()},
            chunk=self.chunk[rows],
            steps=self.steps[rows],
            episode=self.episode[rows],
            seeds=tuple(self.seeds[row] for row in rows.tolist()),
        )


def executed_chunks(
    frames: Mapping[str, Tensor],
    actions: Tensor,
    lengths: Sequence[int],
    seeds: Sequence[int],
    history: int,
    steps: int,
    views: Mapping[str, Tensor] | None = None,
) -> Executed:
    """Cut e whole episodes into the chunks between every `steps`-th control step and the next.

    frames {key: (e, T, *shape)}: what was observed before each of the actions (e, T, a) that were sent, clipped; only
    the first `lengths` steps of an episode count. views {key: (e, chunks, *shape)}: what was looked at before each
    chunk. How the acting policy divided its time does not matter.
    """
    pairs = [(row, start) for row, length in enumerate(lengths) for start in range(0, int(length), steps)]
    row, start = torch.tensor(pairs, dtype=torch.int64).T
    left = torch.tensor([int(length) for length in lengths])[row] - start
    past = (start[:, None] + torch.arange(1 - history, 1)).clamp_min(0)  # the first frame is repeated as padding
    future = start[:, None] + torch.arange(steps)
    chunk = actions[row[:, None], future.clamp_max(actions.shape[1] - 1)].clone()
    chunk[torch.arange(steps) >= left[:, None]] = torch.nan
    return Executed(
        window={key: values[row[:, None], past] for key, values in frames.items()}
        | {key: values[row, start // steps].unsqueeze(1) for key, values in (views or {}).items()},
        chunk=chunk,
        steps=left.clamp_max(steps),
        episode=row,
        seeds=tuple((int(seeds[r]), s // steps) for r, s in pairs),
    )


@dataclass(frozen=True)
class Ranks:
    """Where n executed chunks rank among the base samples of their states: share of the samples whose nearest other
    item is closer than the chunk's own. 1: farther than every sample; uniform over 0, 1/m, ..., 1 for the base."""

    episode: Tensor
    """(n,) int64, index of the episode."""
    steps: Tensor
    """(n,) int64, control steps of the chunk."""
    chunk: Tensor
    """(n,) of the whole executed chunk."""
    steered: Tensor
    """(n,) of its part along the steered directions; NaN where steering chooses the whole latent."""
    step: Tensor
    """(n, k) of every single action; NaN behind the episode's end."""
    distance: Tensor
    """(n,) distance to the nearest sample, divided by the median of the samples' own such distances."""


class SupportMeter:
    """Measures executed chunks against one frozen base policy."""

    def __init__(
        self,
        policy: FlowPolicy,
        action_low: Sequence[float],
        action_high: Sequence[float],
        config: SupportConfig | None = None,
        latent: LatentConfig | None = None,
        device: str = "cpu",
    ) -> None:
        """Actions of base samples are clipped to the bounds; `latent` names the steered coordinates (default: those
        of SCORE). device: the policy's; all else is measured on the CPU. Raises ScoreError where the level cannot be
        met exactly with so many samples."""
        self.policy, self.config, self.device = policy, config or SupportConfig(), device
        validate(self.config)
        alarms = self.config.level * (self.config.samples + 1)
        if round(alarms) < 1 or abs(alarms - round(alarms)) > 1e-9 or alarms > 0.5 * (self.config.samples + 1):
            raise ScoreError(
                f"level {self.config.level:g} is no multiple of 1 / (samples + 1) = 1 / {self.config.samples + 1} "
                "up to 0.5, so its false alarms would not be known; 99 samples make 0.01 exact"
            )
        self.map = LatentMap(latent or LatentConfig(), policy.spec.latent_shape)
        self._low, self._high = torch.tensor(action_low), torch.tensor(action_high)
        self._steered = self.map.dim < math.prod(policy.spec.latent_shape)
        self._probes = max(self.config.probes, 2 * self.map.dim if self._steered else 2)

    def measure(self, executed: Executed, advance: Callable[[int], None] | None = None) -> Ranks:
        """Rank every executed chunk; `advance` is told how many decisions were measured."""
        n, k = executed.chunk.shape[:2]
        if k > self.policy.spec.horizon:
            raise ScoreError(f"the policy's chunks have {self.policy.spec.horizon} actions, {k} were executed")
        ranks = Ranks(
            executed.episode,
            executed.steps,
            *torch.full((2, n), torch.nan),
            torch.full((n, k), torch.nan),
            torch.zeros(n),
        )
        at_once = max(1, self.config.rows // (self.config.samples + self._probes))
        for steps in executed.steps.unique().tolist():
            for part in (executed.steps == steps).nonzero().flatten().split(at_once):
                self._rank(executed, part, steps, ranks)
                if advance is not None:
                    advance(len(part))
        return ranks

    def base_chunks(self, context: Context, latent: Tensor) -> Tensor:
        """Whole chunks (n, s, h, a) of base samples as a world would execute them: latents (n, s, l, w), bounded,
        decoded in n contexts and clipped to the action limits."""
        n, s = latent.shape[:2]
        flat = repeat_rows(context, s)
        chunk = self.decode(flat, latent.flatten(0, 1).clamp(-LATENT_BOUND, LATENT_BOUND))
        return chunk.unflatten(0, (n, s)).clamp(self._low, self._high)

    def decode(self, context: Context, latent: Tensor) -> Tensor:
        """The policy's chunks (n, h, a) of latents (n, l, w)."""
        return self.policy.decode(context, latent.to(self.device)).cpu()

    def context(self, executed: Executed, rows: Tensor) -> Context:
        """What the base policy sees at chosen decisions."""
        return self.policy.encode({key: values[rows].to(self.device) for key, values in executed.window.items()})

    def noise(self, executed: Executed, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (r, samples + probes, l, w) of chosen decisions and lots (r, 2 + k) in [0, 1); each decision's
        depend on its seeds alone."""
        shape = (self.config.samples + self._probes, *self.policy.spec.latent_shape)
        streams = [rng("support", *executed.seeds[row]) for row in rows.tolist()]
        latent = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
        lots = np.stack([stream.random(2 + executed.chunk.shape[1]) for stream in streams])
        return torch.from_numpy(latent), torch.from_numpy(lots)

    @torch.no_grad()
    def _rank(self, executed: Executed, rows: Tensor, steps: int, ranks: Ranks) -> None:
        """Fill in the ranks of decisions that were executed for the same number of steps."""
        context = self.context(executed, rows)
        latent, lots = self.noise(executed, rows)
        base = self.base_chunks(context, latent)[:, :, :steps]
        item = executed.chunk[rows, :steps].unsqueeze(1).clamp(self._low, self._high)
        samples, probes = base[:, : self.config.samples], base[:, self.config.samples :]
        modes = [to_modes(x.flatten(0, 1)).view_as(x) for x in (item, samples, probes)]
        flat = [x.flatten(2) for x in modes]
        ranks.chunk[rows], ranks.distance[rows] = nearest_rank(*whitened(*flat), lots[:, 0])
        if self._steered:
            w = self.map.coordinates(
                latent[:, self.config.samples :].flatten(0, 1).clamp(-LATENT_BOUND, LATENT_BOUND)
            )
            flat = standardised(*flat)
            axes = moved_directions(w.view(len(rows), self._probes, -1), flat[-1])
            ranks.steered[rows], _ = nearest_rank(*whitened(*(x @ axes for x in flat)), lots[:, 1])
        for j in range(steps):
            one = whitened(item[:, :, j], samples[:, :, j], probes[:, :, j])
            ranks.step[rows, j], _ = nearest_rank(*one, lots[:, 2 + j])


def nearest_rank(item: Tensor, samples: Tensor, lot: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of an item's distance to its nearest neighbour among those of m samples, in each of n states.

    item (n, 1, f), samples (n, m, f); lot (n,) in [0, 1) breaks ties, which pairs of mutual neighbours are.
    Returns the share (n,) of samples whose nearest OTHER item (the item itself included) is closer, and the item's
    distance divided by the median over the samples. Under exchangeability the share is uniform over 0, 1/m, ..., 1.
    """
    everything = torch.cat((samples, item), dim=1)
    # The faster matrix product loses the digits of small distances, and with them the symmetry of ties.
    distance = torch.cdist(everything, everything, compute_mode="donot_use_mm_for_euclid_dist")
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    nearest = distance.amin(dim=2)
    others, own = nearest[:, :-1], nearest[:, -1:]
    below, equal = (others < own).sum(1), (others == own).sum(1)
    rank = (below + (lot * (equal + 1)).floor()) / samples.shape[1]
    return rank.float(), own[:, 0] / others.median(dim=1).values.clamp_min(1e-12)


def standardised(item: Tensor, samples: Tensor, probes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three (n, *, f) in units of the probes' spread around their mean, feature by feature."""
    mean, spread = probes.mean(1, keepdim=True), probes.std(1, keepdim=True).clamp_min(RESOLUTION)
    return (item - mean) / spread, (samples - mean) / spread, (probes - mean) / spread


def whitened(item: Tensor, samples: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Item (n, 1, f) and samples (n, m, f) in coordinates in which the probes (n, p, f) have about unit covariance:
    Euclidean distance is then Mahalanobis distance. The correlation matrix is shrunk towards the identity."""
    item, samples, probes = standardised(item, samples, probes)
    correlation = probes.transpose(1, 2) @ probes / (probes.shape[1] - 1)
    identity = torch.eye(probes.shape[2], dtype=probes.dtype, device=probes.device)
    factor = torch.linalg.cholesky((1 - SHRINKAGE) * correlation + SHRINKAGE * identity)
    both = torch.cat((item, samples), dim=1).transpose(1, 2)
    both = torch.linalg.solve_triangular(factor, both, upper=False).transpose(1, 2)
    return both[:, :1], both[:, 1:]


def moved_directions(coordinates: Tensor, features: Tensor) -> Tensor:
    """Orthonormal directions (n, f, min(d, f)) into which coordinates (n, p, d) move features (n, p, f), to first
    order: the row space of the least-squares map from one to the other over p probes."""
    w, x = coordinates - coordinates.mean(1, keepdim=True), features - features.mean(1, keepdim=True)
    slopes = torch.linalg.lstsq(w, x).solution
    return torch.linalg.svd(slopes, full_matrices=False).Vh.transpose(1, 2)
