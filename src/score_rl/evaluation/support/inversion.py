"""Support by inversion: which latent would have made the base policy act as was executed, and is it a likely one?

The discrete sampler is a bijection between latents and chunks, so every executed chunk has exactly one latent, and
|z|^2 / (h a) says how likely it was. Its distribution is not taken for chi-square: clipped actions have latents that
were never drawn. A base sample of every measured state, clipped alike, gives the reference instead.

The inverse of a precise policy is badly conditioned: a base policy of spread s turns an error e of an action into
e / s of the latent. So three figures say whether to believe it: the share of base samples whose inversion converges,
the error with which their latents (which are known) come back, and the local expansion. Where they are bad, only
the nearest-sample test of `evaluation.support.meter` remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from score_rl.contracts import Context
from score_rl.core.flow import Inversion
from score_rl.evaluation.support.meter import RESOLUTION, Executed, SupportMeter
from score_rl.steering.latent import LATENT_BOUND


class Invertible(Protocol):
    """A flow policy with the optional capability of inversion."""

    def invert(self, context: Context, chunk: Tensor, tolerance: float, max_iterations: int) -> Inversion:
        """Latents (n, h, a) that `decode` maps to chunks (n, h, a) in physical units."""
        ...


@dataclass(frozen=True)
class Latents:
    """Squared latents, per element, of q executed chunks and of one base sample in the state of each.

    A chunk whose inversion does not converge has an infinite one: as far out as can be, for both alike."""

    episode: Tensor
    """(q,) int64, index of the episode."""
    executed: Tensor
    """(q,) |z|^2 / (h a) of the executed chunks; infinite too where the base samples say that it is no use."""
    base: Tensor
    """(q,) of the base samples, clipped to the action limits."""
    executed_steered: Tensor
    """(q,) |w|^2 / d of the coordinates that steering chooses."""
    base_steered: Tensor
    """(q,) of the base samples."""
    error: Tensor
    """(q,) root mean square error of the base samples' latents after the round trip; NaN where clipping changed
    the sample, infinite where the inversion does not converge."""
    expansion: Tensor
    """(q,) local expansion of the inverse: root mean square change of z over that of the actions, 1 / action unit."""


def invert_executed(meter: SupportMeter, executed: Executed) -> Latents | None:
    """Map executed chunks back to latents, at most `inversions` of them, evenly spread.

    Only whole chunks have a latent. None where there are none (fewer actions are executed than a chunk has, or
    every episode is shorter) or where the policy cannot be inverted.
    """
    config, policy = meter.config, meter.policy
    whole = (executed.steps == policy.spec.horizon).nonzero().flatten()
    invertible = callable(getattr(policy, "invert", None)) and policy.spec.latent_shape == policy.spec.chunk_shape
    if not invertible or not len(whole) or config.inversions < 1:
        return None
    count = min(config.inversions, len(whole))
    rows = whole[torch.arange(count) * len(whole) // count]
    context, chunk = meter.context(executed, rows), executed.chunk[rows]
    drawn = torch.cat([meter.noise(executed, part)[0][:, :1] for part in rows.split(64)])
    drawn = drawn.clamp(-LATENT_BOUND, LATENT_BOUND)
    base = meter.base_chunks(context, drawn)[:, 0]
    drawn = drawn[:, 0]
    clipped = (meter.decode(context, drawn) != base).any(2).any(1)
    known = _invert(meter, context, base)
    sound = known.isfinite().all(2).all(1)
    nudge = RESOLUTION * torch.where(drawn > 0, 1.0, -1.0)
    expansion = torch.full((count,), torch.inf)
    if sound.any():
        known_rows = context.rows(sound.nonzero().flatten())
        moved = _invert(meter, known_rows, (base + nudge)[sound])
        expansion[sound] = _rms(moved - known[sound]) / RESOLUTION
    found = torch.full_like(known, torch.nan)
    if usable(known, config.level):
        found = _invert(meter, context, chunk)
    return Latents(
        episode=executed.episode[rows],
        executed=_rms(found) ** 2,
        base=_rms(known) ** 2,
        executed_steered=_rms(meter.map.coordinates(found)) ** 2,
        base_steered=_rms(meter.map.coordinates(known)) ** 2,
        error=_rms(known - drawn).masked_fill(clipped, torch.nan),
        expansion=expansion,
    )


def usable(base: Tensor, level: float) -> bool:
    """Whether enough of the base samples (q, ...) were inverted for their quantile at the level to be known."""
    return float(base.flatten(1).isfinite().all(1).float().mean()) >= 1 - level


def _invert(meter: SupportMeter, context: Context, chunk: Tensor) -> Tensor:
    """Latents (q, h, a), infinite where the inversion does not converge."""
    policy: Invertible = meter.policy
    inversion = policy.invert(context, chunk.to(meter.device), 1e-5, meter.config.inversion_iterations)
    return inversion.latent.masked_fill(~inversion.converged[:, None, None], torch.inf).cpu()


def _rms(x: Tensor) -> Tensor:
    """(q,) root mean square of every row; infinite where any element is not finite."""
    value = x.square().flatten(1).mean(1).sqrt()
    return torch.where(value.isfinite(), value, torch.inf)
