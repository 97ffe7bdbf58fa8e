"""Which episodes an iteration begins with: new ones, and again some that were lost in the iteration before."""

from __future__ import annotations

from collections.abc import Sequence

from score_rl.core import ranks
from score_rl.core.chunks import Episode
from score_rl.core.seeding import derive_seed, rng
from score_rl.steering.config import SteerConfig
from score_rl.steering.rollouts import clean_success


def episode_seeds(config: SteerConfig, iteration: int, envs: int, lost: Sequence[int]) -> list[int]:
    """Seeds (envs,) that this rank begins an iteration with; in mirrored pairs both halves are the same.

    lost: what `lost_seeds` found in the iteration before. Which of them are retried follows from seed and iteration.
    """
    key, rank = ("steer", config.seed, iteration), ranks.rank()
    different = envs // 2 if config.ppo.mirrored else envs
    seeds = [derive_seed(*key, "episode", rank * envs + row) for row in range(different)]
    places = int(config.retry_share * different)
    drawn = rng(*key, "retry").permutation(len(lost))[rank * places : (rank + 1) * places]
    seeds[: len(drawn)] = [lost[index] for index in drawn]
    return seeds * (envs // different)


def lost_seeds(seeds: Sequence[int], episodes: Sequence[Episode]) -> list[int]:
    """Those of the seeds (n,) whose episode has not ended in success by the end of the rollout, of all ranks."""
    won = {episode.env for episode in episodes if episode.index == 0 and clean_success(episode)}
    mine = [seed for row, seed in enumerate(seeds) if row not in won]
    return sorted({seed for found in ranks.gather(mine) for seed in found})
