"""Heads: what becomes of the numbers that reinforcement learning chooses. Methods differ in nothing else.

The actor is a diagonal Gaussian over w (n, d), given the base policy's context. A head turns w and noise into an
action chunk. SCORE's head makes w a part of the latent, so that every chunk is one of the base policy's own; the
rivals in `score_rl.steering.methods` bring heads of their own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy
from score_rl.steering.latent import LatentMap


@dataclass(frozen=True)
class Decision:
    """One decision per row."""

    chunk: Tensor
    """(n, h, a) actions in physical units."""
    latent: Tensor
    """(n, l, w) latent that the base policy decoded; of a method that changes the chunk afterwards, the latent
    before that change."""


class Head(Protocol):
    """The meaning of what the actor chooses."""

    dim: int
    """d: width of w."""

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """Chunks for n contexts, chosen w (n, d) and noise (n, l, w) ~ N(0, I); deterministic given these."""
        ...

    def exploration(self, noise: Tensor) -> Tensor:
        """Standard normal (n, d), a function of the noise (n, l, w), independent of what `act` takes from it."""
        ...

    def at_rest(self, noise: Tensor) -> Tensor:
        """Noise (n, l, w) that `act` still gets when the actor's mean is deployed without exploration."""
        ...


class LatentHead:
    """SCORE: w is a part of the latent, the rest of it stays noise, or a latent that is given once for all."""

    def __init__(self, latent: LatentMap, complement: Tensor | None = None) -> None:
        """complement (l, w): the latent whose unchosen modes every decision has; None: the noise's."""
        self.map = latent
        self.dim = latent.dim
        self.complement = complement
        if complement is not None:
            self._chosen = latent.coordinates(complement.unsqueeze(0))

    def latent(self, w: Tensor, noise: Tensor) -> Tensor:
        """Latent (n, l, w) of w (n, d); exactly the complement where w is its own coordinates."""
        if self.complement is None:
            return self.map.compose(w, noise)
        return self.map.clamp(self.complement + self.map.expand(w - self._chosen))

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """See `Head`."""
        latent = self.latent(w, noise)
        return Decision(policy.decode(context, latent), latent)

    def exploration(self, noise: Tensor) -> Tensor:
        """See `Head`: the coordinates that `compose` would replace, so that w ~ N(0, I) gives back the noise."""
        return self.map.coordinates(noise)

    def at_rest(self, noise: Tensor) -> Tensor:
        """See `Head`: 0, or the noise where `latent.complement` says so."""
        return noise if self.map.config.complement == "noise" else torch.zeros_like(noise)


class ChunkHead:
    """w is a whole chunk in the policy's normalised coordinates, for methods that decide with a network of their own.

    What they learn is no head's business: their `Learns.act` returns the chunk, noise and all.
    """

    def __init__(self, chunk_shape: tuple[int, int]) -> None:
        self.dim = chunk_shape[0] * chunk_shape[1]

    def act(self, policy: FlowPolicy, context: Context, w: Tensor, noise: Tensor) -> Decision:
        """See `Head`; no latent of the base policy is decoded, so it is given as 0."""
        x = w.view(len(w), *policy.spec.chunk_shape)
        return Decision(policy.denormalize(context, x), torch.zeros_like(noise))

    def exploration(self, noise: Tensor) -> Tensor:
        """See `Head`."""
        return noise.flatten(1)

    def at_rest(self, noise: Tensor) -> Tensor:
        """See `Head`."""
        return noise


def more_noise(noise: Tensor, count: int) -> Tensor:
    """`count` further draws (n, count, l, w) ~ N(0, I) from the bits of noise (n, l, w); row i depends on row i.

    A decision that needs more chance than one latent so stays a function of its noise, and common random numbers
    stay common.
    """
    rows = noise.detach().cpu().contiguous().numpy()
    shape = (count, *rows.shape[1:])
    keys = [np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint32) for row in rows]
    drawn = [np.random.default_rng(key).standard_normal(shape, dtype=np.float32) for key in keys]
    return torch.from_numpy(np.stack(drawn)).to(noise.device)


def draws(noise: Tensor, count: int) -> Tensor:
    """`count` draws (n, count, l, w) of a decision: its noise (n, l, w), then further ones, see `more_noise`."""
    return torch.cat((noise.unsqueeze(1), more_noise(noise, count - 1)), dim=1)
