"""What the latent allows, and where a steered policy fails: many constant latents in the same states of a twin.

    python benchmarks/latent_limit.py --base RUN --steering RUN --world DOMAIN.toml --task grasp_bottle

Every latent plays the same episodes of the twin, one latent throughout an episode. Of a state (an episode's seed)
this tells the share of latents that succeed there; of all states the best constant latent, and the share of states
where any of them succeeds at all: no bound, since steering may change the latent within an episode, but what a search
over so many latents per state can reach, with hindsight of that very episode.

The steered policy plays the same episodes. Its failures are counted by what ended them (the stop, the time limit)
and by the milestones that they reached. The proxy is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from score_rl.contracts import FlowPolicy, World
from score_rl.core.chunks import ChunkRunner, Episode
from score_rl.core.files import write_json
from score_rl.core.runs import describe_process
from score_rl.core.seeding import torch_generator
from score_rl.core.statistics import wilson
from score_rl.pipeline.inputs import steering_bundle
from score_rl.policies.open import open_policy
from score_rl.sim.open import open_world
from score_rl.steering.methods import load_trained
from score_rl.steering.rollouts import clean_success, play

FIRST_SEED = 3_000_000
"""Episodes that nothing else plays."""


@dataclass(frozen=True)
class Benchmark:
    """Constant latents and a steered policy in the same states."""

    base: Path
    """Run directory of the base policy."""
    steering: Path
    """Run directory of the steered policy."""
    world: str
    """The twin."""
    task: str = "grasp_bottle"
    """Task."""
    states: int = 64
    """Episodes that all of them play."""
    latents: int = 64
    """Constant latents: 0, and draws of the prior."""
    num_envs: int = 128
    """Environments stepped together."""
    result: Path = Path("benchmarks/results/latent_limit.json")
    """Result file to write."""


def play_latents(policy: FlowPolicy, world: World, latents: Tensor, seeds: Sequence[int], steps: int) -> Tensor:
    """(states, latents) bool: which constant latent (l, w) succeeds in the episode of which seed."""
    pairs = [(state, number) for state in range(len(seeds)) for number in range(len(latents))]
    n, won = world.spec.num_envs, torch.zeros(len(seeds), len(latents), dtype=torch.bool)
    for first in range(0, len(pairs), n):
        some = pairs[first : first + n]
        some += some[-1:] * (n - len(some))
        chosen = latents[[number for _, number in some]]
        played = play(
            world,
            policy.spec,
            lambda window, _, chosen=chosen: policy.decode(policy.encode(window), chosen),
            [seeds[state] for state, _ in some],
            steps,
        )
        for (state, number), success in zip(some, played.success.tolist()):
            won[state, number] = success
    return won


@torch.no_grad()
def play_steered(policy: FlowPolicy, world: World, steering: Any, seeds: Sequence[int]) -> list[Episode]:
    """The steered policy's episode of every seed."""
    decider, n = list(steering.deciders(policy).values())[-1], world.spec.num_envs
    ended: list[Episode] = []
    for first in range(0, len(seeds), n):
        some = [*seeds[first : first + n]]
        runner = ChunkRunner(world, policy.spec, steering.spec.execute_steps, filler=None)
        runner.start(some + some[-1:] * (n - len(some)))
        found: dict[int, Episode] = {}
        while len(found) < n:
            noise = torch.zeros(n, *policy.spec.latent_shape)
            runner.execute(decider.decide(runner.window, noise).chunk)
            found |= {e.env: e for e in runner.take_episodes() if e.index == 0}
        ended += [found[row] for row in range(len(some))]
    return ended


def classified(episodes: Sequence[Episode]) -> dict[str, int]:
    """How many episodes failed how: by their end, and by the reward that they reached."""
    failed = [episode for episode in episodes if not clean_success(episode)]
    return dict(Counter(f"{ending(episode)}, reward {episode.reward:g}" for episode in failed).most_common())


def ending(episode: Episode) -> str:
    """What ended a failure."""
    if episode.info.get("fault", 0.0):
        return "stop"
    return "time" if episode.truncated else "other"


def summary(won: Tensor, steered: Tensor) -> dict[str, Any]:
    """Figures of which latents (states, latents) and which steered episodes (states,) succeeded."""
    states, chance = len(won), won.float().mean(dim=1)
    best = int(won.sum(dim=0).argmax())
    oracle, lost = won.any(dim=1), ~steered
    return {
        "states": states,
        "latents": won.shape[1],
        "prior": float(chance.mean()),
        "zero": float(won[:, 0].float().mean()),
        "best_constant": float(won[:, best].float().mean()),
        "any_latent": float(oracle.float().mean()),
        "any_latent_95": list(wilson(int(oracle.sum()), states)),
        "steered": float(steered.float().mean()),
        "steered_95": list(wilson(int(steered.sum()), states)),
        "steered_lost": int(lost.sum()),
        "steered_lost_any_latent": int((lost & oracle).sum()),
        "share_of_latents_where_steered_won": float(chance[steered].mean()) if steered.any() else None,
        "share_of_latents_where_steered_lost": float(chance[lost].mean()) if lost.any() else None,
        "share_by_state": [round(float(share), 3) for share in chance],
    }


def main(config: Benchmark) -> None:
    """Play, count, write."""
    torch.set_num_threads(1)
    policy = open_policy(config.base)
    steering = load_trained(steering_bundle(config.steering), policy)
    seeds = range(FIRST_SEED, FIRST_SEED + config.states)
    world = open_world(config.world, config.num_envs, config.task, views=policy.spec.interface.views)
    latents = torch.randn(config.latents, *policy.spec.latent_shape, generator=torch_generator("limit", 0)).clamp(
        -3, 3
    )
    latents[0] = 0.0
    won = play_latents(policy, world, latents, seeds, steering.spec.execute_steps)
    episodes = play_steered(policy, world, steering, seeds)
    steered = torch.tensor([clean_success(episode) for episode in episodes])
    found = summary(won, steered) | {"failures": classified(episodes)}
    process = describe_process()
    about = {"task": config.task, "world": config.world, "first_seed": FIRST_SEED}
    about |= {key: process[key] for key in ("commit", "command", "machine")}
    write_json(config.result, about | found)
    print({key: value for key, value in found.items() if key != "share_by_state"})


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
