"""Evaluation: every policy on the same episodes, one per seed.

The noise that a stochastic policy uses is drawn per (seed, decision), so figures do not depend on the batch
size or on the other policies, and two of them use the same noise in the same episode (common random numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from score_rl.contracts import Frame, Observation, PolicySpec, StepResult, World
from score_rl.core import chunks
from score_rl.core.arrays import check_finite
from score_rl.core.errors import ScoreError
from score_rl.evaluation.exposed import exposed
from score_rl.evaluation.results import FORCE_FIGURES, Episode
from score_rl.evaluation.support.meter import Executed, executed_chunks
from score_rl.steering.policy import Decider, decision_noise


@dataclass(frozen=True)
class Evaluation:
    """What one policy did."""

    episodes: list[Episode]
    """One per seed, in the order of the seeds."""
    trace: dict[str, Tensor]
    """The first k episodes in full, float32, NaN behind their end: `action` (k, T, a), `observation.K` (k, T, *shape)
    before it, `qpos` (k, T, nq) where the world has it, `latent` (k, decisions, l, w). And of every episode
    `latent_norm2` (n, decisions); `first_chunk` (n, h, a), `first_latent` (n, l, w) of its first decision."""
    executed: Executed | None = None
    """All chunks as they were sent, where they were asked for."""


def evaluate(
    world: World,
    decider: Decider,
    seeds: Sequence[int],
    execute_steps: int,
    traced: int = 0,
    advance: Callable[[int], None] | None = None,
    reader: PolicySpec | None = None,
) -> Evaluation:
    """Run one episode per seed and return what came of it; the first `traced` episodes are kept in full.

    `execute_steps` actions of every chunk are sent before the next decision; `advance` is told how many
    episodes each batch finished. reader: also return all executed chunks, with what a policy of this spec would
    have read before each.

    Raises ScoreError for no or repeated seeds, a policy that does not fit the world, and a world that returns what is
    not finite, or goes on beyond its time limit.
    """
    world = exposed(world, decider.spec)
    for spec in [decider.spec] if reader is None else [decider.spec, reader]:
        chunks.check_fit(spec, world.spec, execute_steps)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ScoreError(f"evaluation needs distinct seeds, at least one; got {len(seeds)}")
    episodes: list[Episode] = []
    traces: list[dict[str, Tensor]] = []
    sent: list[Executed] = []
    for start in range(0, len(seeds), world.spec.num_envs):
        batch = list(seeds[start : start + world.spec.num_envs])
        rows = max(0, min(len(batch), traced - start))
        played = _run_batch(world, decider, batch, execute_steps, rows, reader)
        traces.append(played.trace)
        if played.executed is not None:
            sent.append(replace(played.executed, episode=played.executed.episode + len(episodes)))
        episodes += played.episodes
        if advance is not None:
            advance(len(batch))
    keys = dict.fromkeys(key for trace in traces for key in trace)
    trace = {key: _stack([t[key] for t in traces if key in t]) for key in keys}
    return Evaluation(episodes, trace, _joined(sent) if sent else None)


class Recorder:
    """A `World` that remembers what was sent, and for its first `rows` environments what was seen."""

    def __init__(self, world: World, rows: int, views: Sequence[str] = ()) -> None:
        """views: all that anybody looks at; looked at together, once before every step."""
        self.world, self.spec, self.rows, self._views = world, world.spec, rows, tuple(views)
        self.steps: list[dict[str, Tensor]] = []
        self.sent: list[Tensor] = []

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `World`: a camera is asked once, whoever asks for all environments."""
        if rows is not None:
            return self.world.look(keys, rows)
        if self._looked is None:
            self._looked = self.world.look(self._views)
        return {key: self._looked[key] for key in keys}

    def reset(self, seeds: Sequence[int]) -> Observation:
        """See `World.reset`; forgets what was recorded."""
        self.steps, self.sent = [], []
        self._looked: Frame | None = None
        self._observation = self.world.reset(seeds)
        return self._observation

    def step(self, action: Tensor) -> StepResult:
        """See `World.step`."""
        if self.rows:
            frame = {f"observation.{key}": value for key, value in self._observation.actor.items()}
            if hasattr(self.world, "qpos"):
                frame["qpos"] = torch.as_tensor(self.world.qpos(), dtype=torch.float32)
            self.steps.append({key: value[: self.rows].cpu().clone() for key, value in frame.items()})
        self.sent.append(action.cpu().clone())
        self._looked = None
        result = self.world.step(action)
        check_finite(self.spec.name, {"the reward": result.reward})
        self._observation = result.observation
        return result

    def close(self) -> None:
        """See `World.close`."""
        self.world.close()

    def actions(self) -> Tensor:
        """(n, T, a) that were sent."""
        return torch.stack(self.sent, dim=1)

    def seen(self) -> dict[str, Tensor]:
        """{name: (rows, T, *shape)}, `observation.K` of every key among them, whatever came behind an end."""
        return {key: torch.stack([step[key] for step in self.steps], dim=1) for key in self.steps[0]}


def _ended(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """(rows, T, ...) as float32 with NaN behind the length of each row; a copy."""
    ended = values.to(torch.float32, copy=True)
    for row, length in enumerate(lengths):
        ended[row, length:] = torch.nan
    return ended


def _run_batch(
    world: World, decider: Decider, seeds: list[int], execute_steps: int, rows: int, reader: PolicySpec | None
) -> Evaluation:
    """The first episode of every environment; a short batch is filled up with repetitions."""
    n, spec, device = len(seeds), decider.spec, world.spec.device
    padded = seeds + [seeds[-1]] * (world.spec.num_envs - n)
    views = dict.fromkeys((*spec.interface.views, *(reader.interface.views if reader is not None else ())))
    recorder = Recorder(world, rows if reader is None else n, tuple(views))

    def filler(window: Mapping[str, Tensor]) -> Tensor:
        """After a row's first episode it only has to stand by, without noise."""
        rows = len(next(iter(window.values())))
        return decider.decide(window, torch.zeros(rows, *spec.latent_shape, device=device)).chunk

    runner = chunks.ChunkRunner(recorder, spec, execute_steps, filler)
    runner.start(padded)
    finished: dict[int, chunks.Episode] = {}
    latents: list[Tensor] = []
    jumps: list[Tensor] = []
    looks: list[Frame] = []
    first_chunk = None
    while len(finished) < n:
        if reader is not None and reader.interface.views:
            looks.append(recorder.look(tuple(reader.interface.views)))
        noise = decision_noise(padded, len(latents), spec.latent_shape).to(device)
        window = runner.window
        check_finite(world.spec.name, {f"what is seen of '{key}'": values for key, values in window.items()})
        decision = decider.decide(window, noise)
        first_chunk = decision.chunk if first_chunk is None else first_chunk
        jumps.append(runner.execute(decision.chunk).jump.cpu())
        latents.append(decision.latent.cpu())
        finished |= {e.env: e for e in runner.take_episodes() if e.index == 0 and e.env < n}
        if len(finished) < n and len(latents) * execute_steps >= world.spec.time_limit:
            raise ScoreError(f"{world.spec.name} goes on beyond its own time limit of {world.spec.time_limit} steps")
    lengths = [finished[row].steps for row in range(n)]
    decided, jumped, sent = torch.stack(latents, dim=1)[:n].clone(), torch.stack(jumps, dim=1)[:n], recorder.actions()
    for row, length in enumerate(lengths):
        decided[row, -(-length // execute_steps) :] = torch.nan
    norm2 = decided.square().mean(dim=(2, 3))
    trace = {
        "latent_norm2": norm2,
        "first_chunk": first_chunk[:n].cpu(),
        "first_latent": decided[:, 0].clone(),
    }
    seen = recorder.seen() if recorder.rows else {}
    if rows:
        kept = {key: _ended(values[:rows], lengths[:rows]) for key, values in (seen | {"action": sent}).items()}
        trace |= {"latent": decided[:rows]} | kept
    episodes = [
        _episode(
            seeds[row],
            finished[row],
            norm2[row].nanmean().item(),
            jumped[row, 1 : -(-length // execute_steps)],  # the first chunk of an episode follows none
            rms_jerk(sent[row, :length], spec.interface.control_rate_hz),
        )
        for row, length in enumerate(lengths)
    ]
    if reader is None:
        return Evaluation(episodes, trace)
    frames = {key: seen[f"observation.{key}"] for key in reader.interface.observation}
    shown = {key: torch.stack([look[key].cpu() for look in looks], dim=1) for key in reader.interface.views}
    executed = executed_chunks(frames, sent, lengths, seeds, reader.history, execute_steps, shown)
    return Evaluation(episodes, trace, executed)


def rms_jerk(actions: Tensor, rate_hz: float) -> float | None:
    """Root mean square of the third derivative of actions (T, a) sent at a rate, action units / s^3.

    By third differences over time, all dimensions and steps alike; None for fewer than four actions.
    """
    if len(actions) < 4:
        return None
    return float(actions.double().diff(n=3, dim=0).square().mean().sqrt()) * rate_hz**3


def _episode(
    seed: int, episode: chunks.Episode, latent_norm2: float, jumps: Tensor, jerk_rms: float | None
) -> Episode:
    fault, nan = bool(episode.info.get("fault", False)), bool(episode.info.get("nan", False))
    success_end = episode.success_end and not fault and not nan
    return Episode(
        seed=seed,
        success_end=success_end,
        success_ever=episode.success_ever,
        steps_to_success=episode.steps_to_success if success_end else None,
        steps=episode.steps,
        truncated=episode.truncated,
        fault=fault,
        nan=nan,
        peak_force_n=episode.info.get("peak_force_n"),
        return_=episode.reward,
        latent_norm2=latent_norm2,
        max_jump=episode.max_jump,
        jump=jumps.mean().item() if len(jumps) else None,
        jerk_rms=jerk_rms,
        **{name: episode.info.get(name) for name in FORCE_FIGURES},
    )


def _joined(parts: Sequence[Executed]) -> Executed:
    """Executed chunks of several batches as one."""
    return Executed(
        window={key: torch.cat([part.window[key] for part in parts]) for key in parts[0].window},
        chunk=torch.cat([part.chunk for part in parts]),
        steps=torch.cat([part.steps for part in parts]),
        episode=torch.cat([part.episode for part in parts]),
        seeds=tuple(pair for part in parts for pair in part.seeds),
    )


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """Concatenation along the first dimension; a shorter second dimension is filled up with NaN."""
    longest = max(part.shape[1] for part in parts)
    return torch.cat([_lengthened(part, longest) for part in parts])


def _lengthened(part: Tensor, length: int) -> Tensor:
    filling = part.new_full((part.shape[0], length - part.shape[1], *part.shape[2:]), torch.nan)
    return torch.cat((part, filling), dim=1)
