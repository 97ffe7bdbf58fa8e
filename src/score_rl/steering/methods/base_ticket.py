"""`base_ticket`: the base policy with ONE constant latent for every decision, found by search in the twin.

    of N candidates z_1 = 0, z_2 .. z_N ~ N(0, I), play all on the same episodes, keep the better half, and again

and in further generations the same with variations of the best, sqrt(1 - s^2) z + s noise.

The score of a candidate is its success rate over everything that it has played, then fewer steps to success. What
the search cannot do is tell states apart: whatever steering adds to this control is worth its state-dependence.

The idea is that of "golden tickets" (Patil et al. 2026, arXiv 2603.15757); successive halving and shared episodes,
so that candidates are compared in pairs, are ours (Karnin et al. 2013, "Almost Optimal Exploration in Multi-Armed
Bandits").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from score_rl.contracts import FlowPolicy, World
from score_rl.core import ranks
from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.progress import progress
from score_rl.core.ranges import Count, Natural, NonNegative, Range, Share
from score_rl.core.records import parse
from score_rl.core.runs import Run
from score_rl.core.seeding import derive_seed, torch_generator
from score_rl.core.statistics import wilson
from score_rl.steering.latent import LatentMap
from score_rl.steering.method import Method, SteeringSpec, latent_head
from score_rl.steering.rollouts import batch_cost, play
from score_rl.steering.ticket import NAME, TicketPolicy

CHECKPOINT, CHECKPOINT_KIND = "checkpoint.safetensors", "score_rl.ticket_checkpoint"
GENERATIONS, EPISODES = 3, 3
"""Generations unless told otherwise, and the episodes of every candidate that each of them needs."""


@dataclass(frozen=True)
class TicketConfig:
    """The search. Where candidates come from is --learner.latent: `full`, or the given modes with all others 0."""

    candidates: Annotated[int, Range(2)] = 128
    """N: latents to begin with, 0 among them; fewer where the budget does not reach for an episode of each."""
    generations: Natural = 0
    """Searches one after the other, each with its share of the budget: from the second on, candidates are the best so
    far and variations of the `parents`. As many at most as the budget has roll-outs. 0: three where the budget has
    three episodes of every candidate for each, else one; with fewer, variations are of latents that had luck."""
    parents: Count = 8
    """Latents that are varied: those with the best lower bounds of success."""
    spread: Share = 0.5
    """s: a variation is sqrt(1 - s^2) parent + s noise, which is as typical of the prior as its parent."""


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint knows besides its tensors."""

    kind: str
    base: str
    """Fingerprint of the base policy."""
    alive: list[int]
    """Candidates that are still in the search."""
    batches: Natural
    control_steps: Natural
    round: Natural
    """The one to go on with."""
    records: Natural
    """Records of the log that were written before it."""
    wall_s: NonNegative


@dataclass(frozen=True)
class Round:
    """One round of successive halving."""

    candidates: int
    """Candidates that play in it."""
    batches: int
    """Roll-outs of all environments that it takes."""
    episodes: int
    """Episodes of every candidate."""


def plan_rounds(candidates: int, batches: int, envs: int) -> list[Round]:
    """The rounds of a search with `batches` roll-outs of `envs` environments: N, N/2, N/4 .. 2 candidates.

    Every round has the same share of the budget, so survivors play ever more episodes. Where there are fewer
    roll-outs than halvings, candidates are dropped in larger steps; where the first round cannot give an episode to
    each of N, fewer begin. Raises ScoreError for fewer than two candidates or no roll-out.

    >>> [(r.candidates, r.episodes) for r in plan_rounds(8, batches=6, envs=8)]
    [(8, 2), (4, 4), (2, 8)]
    """
    if candidates < 2 or batches < 1 or envs < 2:
        raise ScoreError(
            f"a search needs two candidates, two environments and the steps of one roll-out, got {candidates} "
            f"candidates, {envs} environments and {batches} roll-outs"
        )
    rounds = min(max(1, (candidates - 1).bit_length()), batches)
    shares = [batches * (r + 1) // rounds - batches * r // rounds for r in range(rounds)]
    first = min(candidates, envs * shares[0])
    survivors = [max(2, round(first ** (1 - r / rounds))) for r in range(rounds)]
    return [Round(n, share, envs * share // n) for n, share in zip(survivors, shares)]


def count_generations(config: TicketConfig, rollouts: int, envs: int) -> int:
    """Generations of a search with so many roll-outs of so many environments."""
    enough = rollouts * envs >= GENERATIONS * EPISODES * config.candidates
    return min(config.generations or (GENERATIONS if enough else 1), rollouts)


class Scores:
    """What every candidate has achieved so far."""

    def __init__(self, candidates: int) -> None:
        self.episodes, self.successes, self.steps = torch.zeros(3, candidates, dtype=torch.int64)
        """(N,) episodes played, successes among them, and control steps to success, summed over these."""

    def add(self, candidate: Sequence[int], success: Tensor, steps: Tensor) -> None:
        """Count one episode per entry."""
        rows = torch.tensor(candidate, dtype=torch.int64)
        self.episodes.index_add_(0, rows, torch.ones_like(rows))
        self.successes.index_add_(0, rows, success.to(torch.int64))
        self.steps.index_add_(0, rows, torch.where(success, steps, 0))

    def best(self, among: Sequence[int], count: int) -> list[int]:
        """The `count` best, best first: by success rate, then by fewer steps to success, then by lower number."""

        def rank(candidate: int) -> tuple[float, float, int]:
            wins = int(self.successes[candidate])
            rate = wins / max(1, int(self.episodes[candidate]))
            return (-rate, float(self.steps[candidate]) / wins if wins else 0.0, candidate)

        return sorted(among, key=rank)[:count]

    def surest(self, count: int) -> list[int]:
        """The `count` with the highest lower bounds of success, whatever they have played."""
        bound = [wilson(int(wins), int(n))[0] if n else 0.0 for wins, n in zip(self.successes, self.episodes)]
        return sorted(range(len(bound)), key=lambda candidate: (-bound[candidate], candidate))[:count]

    def extend(self, count: int) -> None:
        """Make place for further candidates."""
        for name in ("episodes", "successes", "steps"):
            setattr(self, name, torch.cat((getattr(self, name), torch.zeros(count, dtype=torch.int64))))

    def figures(self, candidate: int) -> dict[str, Any]:
        """Success with its interval and mean steps of one candidate."""
        n, wins = int(self.episodes[candidate]), int(self.successes[candidate])
        low, high = wilson(wins, n)
        return {
            "candidate": candidate,
            "episodes": n,
            "success": wins / n,
            "success_low": low,
            "success_high": high,
            "steps_to_success": float(self.steps[candidate]) / wins if wins else None,
        }


def draw_candidates(latent: LatentMap, count: int, shape: tuple[int, int], seed: int) -> Tensor:
    """(count, l, w) latents: 0, then draws of the prior, of which only the chosen modes are kept."""
    noise = torch.randn(count, *shape, generator=torch_generator(NAME, seed, "candidates"))
    noise[0] = 0.0
    return latent.clamp(latent.expand(latent.coordinates(noise)))


def vary(latent: LatentMap, parents: Tensor, count: int, spread: float, generator: torch.Generator) -> Tensor:
    """(count, l, w) variations of the parents (p, l, w) in turn, of which only the chosen modes are kept."""
    noise = torch.randn(count, *parents.shape[1:], generator=generator)
    varied = math.sqrt(1.0 - spread**2) * parents[torch.arange(count) % len(parents)] + spread * noise
    return latent.clamp(latent.expand(latent.coordinates(varied)))


class _Search:
    """A search between two roll-outs."""

    def __init__(self, policy: FlowPolicy, world: World, budget: int, config: Any, spec: SteeringSpec, run: Run):
        self.policy, self.world, self.spec, self.run, self.seed = policy, world, spec, run, config.seed
        self.cost = batch_cost(world, spec.execute_steps)
        self.config = spec.own(TicketConfig)
        if budget < self.cost:
            raise ScoreError(f"a search needs {self.cost:,} control steps for one roll-out, got {budget:,}")
        rollouts = budget // self.cost
        generations = count_generations(self.config, rollouts, world.spec.num_envs)
        one = plan_rounds(self.config.candidates, rollouts // generations, world.spec.num_envs)
        self.rounds, self.per_generation = one * generations, len(one)
        self.map = LatentMap(spec.latent, spec.latent_shape)
        self.latents = draw_candidates(self.map, self.rounds[0].candidates, spec.latent_shape, config.seed)
        self.scores = Scores(len(self.latents))
        self.alive = list(range(len(self.latents)))
        self.control_steps = self.batches = 0

    @property
    def total(self) -> int:
        """Roll-outs of all rounds."""
        return sum(r.batches for r in self.rounds)

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """(candidate, seed) of every episode of a round: the same seeds for all, new ones in every round."""
        seeds = [derive_seed(NAME, self.seed, number, index) for index in range(self.rounds[number].episodes)]
        return [(candidate, seed) for seed in seeds for candidate in self.alive]

    def play(self, number: int, batch: int) -> None:
        """One roll-out of a round; the last one is filled up with repetitions, which are not counted."""
        envs = self.world.spec.num_envs
        pairs = self.pairs(number)[batch * envs : (batch + 1) * envs]
        padded = pairs + [pairs[-1]] * (envs - len(pairs)) if pairs else []
        if padded:
            latents = self.latents[[candidate for candidate, _ in padded]].to(self.world.spec.device)
            played = play(
                self.world,
                self.policy.spec,
                lambda window, decision: self.policy.decode(self.policy.encode(window), latents),
                [seed for _, seed in padded],
                self.spec.execute_steps,
            )
            n = len(pairs)
            self.scores.add([candidate for candidate, _ in pairs], played.success[:n], played.steps[:n])
            self.control_steps += played.control_steps
        self.batches += 1

    def close_round(self, number: int) -> dict[str, Any]:
        """Drop the worse ones; the record of the round."""
        played = len(self.alive)
        left = self.rounds[number + 1].candidates if number + 1 < len(self.rounds) else 1
        zero = self.scores.figures(0)
        ends = (number + 1) % self.per_generation == 0
        self.alive = self.scores.best(self.alive, 1 if ends else left)
        best, square = self.scores.figures(self.alive[0]), float(self.latents[self.alive[0]].square().mean())
        if ends and number + 1 < len(self.rounds):
            self._breed(number)
        return {
            "round": number,
            "candidates": played,
            "control_steps": self.control_steps,
            **best,
            "latent_square": square,
            "z0_success": zero["success"],
            "z0_episodes": zero["episodes"],
        }

    def _breed(self, number: int) -> None:
        """Begin the next generation: the best so far, and variations of the parents."""
        parents, count = self.scores.surest(self.config.parents), self.rounds[0].candidates - 1
        generator = torch_generator(NAME, self.seed, "generation", number)
        children = vary(self.map, self.latents[parents], count, self.config.spread, generator)
        self.alive += range(len(self.latents), len(self.latents) + count)
        self.latents = torch.cat((self.latents, children))
        self.scores.extend(count)

    def save(self, number: int) -> None:
        """Write the checkpoint from which `resume` goes on."""
        tensors = {"episodes": self.scores.episodes, "successes": self.scores.successes, "steps": self.scores.steps}
        tensors["latents"] = self.latents
        about = CheckpointMetadata(
            kind=CHECKPOINT_KIND,
            base=self.spec.base,
            alive=self.alive,
            batches=self.batches,
            control_steps=self.control_steps,
            round=number,
            records=len(self.run.metrics),
            wall_s=self.run.wall_s,
        )
        save_tensors(self.run.path(CHECKPOINT), tensors, vars(about))

    def resume(self) -> int:
        """Load the checkpoint if there is one and rewind the log to it; the round to go on with."""
        path = self.run.path(CHECKPOINT)
        if not path.exists():
            self.run.rewind(0)
            return 0
        tensors, metadata = load_tensors(path, CHECKPOINT_KIND)
        about = parse(CheckpointMetadata, metadata, path)
        if about.base != self.spec.base:
            raise ScoreError(f"{path} belongs to the base policy {about.base[:12]}, not to {self.spec.base[:12]}")
        if (tensors["latents"][: len(self.latents)] != self.latents).any():
            raise ScoreError(f"{path} holds other candidates than the {len(self.latents)} of this search")
        self.latents = tensors["latents"]
        self.scores.episodes, self.scores.successes = tensors["episodes"], tensors["successes"]
        self.scores.steps = tensors["steps"]
        self.alive, self.batches, self.control_steps = about.alive, about.batches, about.control_steps
        self.run.rewind(about.records, about.wall_s)
        return about.round


def search(
    policy: FlowPolicy, stages: Sequence[Any], config: Any, run: Run, spec: SteeringSpec
) -> tuple[TicketPolicy, Mapping[str, Any]]:
    """The best constant latent for a world, within its budget of control steps; resumes an unfinished run.

    stages, config: as for `steering.loop.steer`, one stage. Returns the policy and figures of the search: of the
    winner over everything that it has played (chosen as the best of many, it flatters itself a little).
    """
    if ranks.launched() > 1:
        raise ScoreError("a ticket is searched in one process, without torchrun")
    if len(stages) != 1:
        raise ScoreError(f"a ticket is searched in one world, got {len(stages)}")
    state = _Search(policy, stages[0].world, stages[0].control_steps, config, spec, run)
    first = state.resume()
    with progress("ticket", total=state.total, done=state.batches) as advance:
        for number in range(first, len(state.rounds)):
            before = sum(r.batches for r in state.rounds[:number])
            for batch in range(state.batches - before, state.rounds[number].batches):
                state.play(number, batch)
                state.save(number)
                advance(note=f"{len(state.alive)} candidates")
            run.log(state.close_round(number))
            state.save(number + 1)
    ticket = TicketPolicy(spec, stages[0].world.spec.device)
    ticket.actor.latent.copy_(state.latents[state.alive[0]])
    figures = state.scores.figures(state.alive[0])
    return ticket, {"control_steps": state.control_steps, "iterations": len(state.rounds), **figures}


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    spec.own(TicketConfig)


BASE_TICKET = Method(
    NAME,
    make_head=latent_head,
    check=_check,
    make_trained=lambda policy, spec, head, device: TicketPolicy(spec, device),
    search=search,
)
