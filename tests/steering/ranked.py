"""What every rank runs in test_ranks.py, by torchrun: `ranked.py OUT` leaves what happened in OUT, rank by rank."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from toys import ToyPolicy, ToyWorld, decided

from score_rl.contracts import PlainContext
from score_rl.core import ranks
from score_rl.core.checkpoints import save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.core.seeding import seeded, torch_generator
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.learning import Sizes
from score_rl.steering.loop import steer
from score_rl.steering.ppo import Learner, PPOConfig

CONFIG = SteerConfig(
    execute_steps=4, decisions=4, ppo=PPOConfig(learning_rate=3e-3, hidden=(16,), epochs=2, minibatches=2)
)
ENVS, ITERATIONS = 16, 3
ITERATION = 2 * ENVS * 4 * 4
"""Control steps of both ranks."""


class Interrupted(ToyWorld):
    """Stops the process's training in a control step."""

    countdown = 2 * 4 * 4 + 3

    def step(self, action):
        self.countdown -= 1
        if self.countdown == 0:
            raise KeyboardInterrupt
        return super().step(action)


def train(path: Path, world: ToyWorld) -> dict[str, torch.Tensor]:
    run = start_run(path, "steer", CONFIG, {}, distributed=True)
    return steer(ToyPolicy(), [Stage(world, ITERATIONS * ITERATION)], CONFIG, run).actor.state_dict()


def updated(first: int, last: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """A learner after one update from rows [first, last) of fixed decisions, and its figures."""
    sizes = Sizes(context=3, critic=2, action=4, envs=last - first, decisions=3)
    generator = torch_generator("ranks")
    widths = {"context": (3,), "critic": (2,), "action": (4,), "reward": ()}
    rows = {name: torch.randn(3, 6, *width, generator=generator) for name, width in widths.items()}
    with seeded("ranks"):
        learner = Learner(sizes, PPOConfig(hidden=(8,), epochs=3, minibatches=1, max_grad_norm=0.1), 1)
        for step in range(3):
            now = {name: values[step, first:last] for name, values in rows.items()}
            learner.act(PlainContext(now["context"]), now["critic"])
            log_prob = learner.actor(now["context"]).log_prob(now["action"]).sum(dim=-1).detach()
            learner.rollout.steps[-1] |= {"action": now["action"], "log_prob": log_prob + 0.1 * now["reward"]}
            going = torch.zeros(last - first, dtype=torch.bool)
            learner.record(decided(now["reward"], going, going, torch.ones(last - first)), now["critic"])
        figures = learner.update(torch.ones(last - first, 2))
    return learner.state()[0], figures


def main(out: Path) -> None:
    torch.set_num_threads(1)
    world = ToyWorld(ENVS)
    results = {"straight": train(out / "straight", world)}
    try:
        train(out / "stopped", Interrupted(ENVS))
    except KeyboardInterrupt:
        results["resumed"] = train(out / "stopped", ToyWorld(ENVS))
    rank, refused = ranks.rank(), ""
    try:
        ranks.agree(rank, "their numbers")
    except ScoreError as error:
        refused = str(error)
    try:
        start_run(out / "other", "evaluate", CONFIG, {})
    except ScoreError as error:
        refused += str(error)
    train(out / f"own-{rank}", ToyWorld(ENVS))
    results["updated"], figures = updated(3 * rank, 3 * rank + 3)
    facts = {"seeds": world.seeds, "figures": ranks.mean_figures(figures), "refused": refused}
    (out / f"{rank}.json").write_text(json.dumps(facts))
    for name, tensors in results.items():
        save_tensors(out / f"{name}-{rank}.safetensors", tensors, {"kind": "test"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
