"""Hand-over between chunks inside the support, against plain execution: jump, jerk and success on the same episodes.

    python benchmarks/handover.py --policy runs/base --steering runs/steering --world runs/calibration/domain.toml

Decisions are asked for `lead` control steps before they take over, as on a robot whose policy takes that long, and
after `execute_steps` of every chunk. Plain execution decides by the steering's mean; a hand-over looks for the chunk
that goes on best from the running one among `samples` latents. Writes benchmarks/results/handover.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from score_rl.contracts import World
from score_rl.core.chunks import advance_window, start_window
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.statistics import wilson
from score_rl.evaluation.evaluate import rms_jerk
from score_rl.pipeline.stages import open_parts
from score_rl.sim.open import open_world
from score_rl.steering.handover import HandOver
from score_rl.steering.policy import decision_noise

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Handover:
    """Measure it for one policy in one world."""

    policy: str = "runs/base"
    """Base policy."""
    steering: Path = Path("runs/steering")
    """Run directory of `score steer`."""
    world: str = "twin"
    """World to act in."""
    task: str = "pinch_cube"
    """Its task."""
    execute_steps: int = 4
    """Control steps between two decisions."""
    lead: int = 2
    """Control steps between a window and the first action of its chunk."""
    samples: tuple[int, ...] = (0, 8, 64)
    """Latents to choose from; 0: plain execution."""
    episodes: int = 100
    """Episodes, side by side."""
    first_seed: int = 5000
    """Seed of the first."""
    out: Path = ROOT / "benchmarks" / "results" / "handover.json"
    """Result file."""

    @torch.no_grad()
    def run(self) -> None:
        """One record per number of samples."""
        torch.set_num_threads(1)
        base, steered, _ = open_parts(self.policy, self.steering)
        records = []
        for samples in self.samples:
            handing = HandOver(base, steered, max(samples, 2))
            world = open_world(self.world, self.episodes, self.task, views=base.spec.interface.views)
            records.append({"samples": samples, **self.play(world, handing, plain=not samples)})
            world.close()
            print(records[-1], flush=True)
        about = {name: getattr(self, name) for name in ("task", "execute_steps", "lead", "first_seed")}
        about |= {"world": Path(self.world).name, "method": steered.spec.method, "n": self.episodes}
        about["seeds"] = [self.first_seed, self.first_seed + self.episodes - 1]
        write_json(self.out, {"benchmark": "handover", **about, "records": records, **describe_process()})

    def play(self, world: World, handing: HandOver, plain: bool) -> dict[str, Any]:
        """The first episode of every environment."""
        policy, n, k = handing.policy.spec, world.spec.num_envs, self.execute_steps
        if k + self.lead > policy.horizon:
            raise SystemExit(f"a chunk has {policy.horizon} actions, not {k} + {self.lead}")
        low, high = torch.tensor(world.spec.action_low), torch.tensor(world.spec.action_high)
        seeds, views = list(range(self.first_seed, self.first_seed + n)), tuple(policy.interface.views)
        window = start_window(world.reset(seeds).actor, policy.interface.observation, policy.history)
        chunk, asked, nxt = None, 0, None
        sent: list[Tensor] = []
        running, success, lengths = torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool), [0] * n
        seams: list[Tensor] = []
        for step in range(world.spec.time_limit):
            if chunk is None or step == asked + k:
                rest = None if chunk is None or plain else chunk[:, step - asked :]
                noise = decision_noise(seeds, step, policy.latent_shape)
                seen = {key: view[:, None] for key, view in world.look(views).items()} if views else {}
                nxt = (step, handing.decide(window | seen, noise, rest).chunk.clamp(low, high))
            if nxt is not None and (chunk is None or step == nxt[0] + self.lead):
                asked, chunk = nxt
                if sent:
                    seams.append(((chunk[:, step - asked] - sent[-1]).abs().amax(dim=1), running.clone()))
                nxt = None
            sent.append(chunk[:, step - asked])
            result = world.step(sent[-1])
            window = advance_window(window, result.observation.actor)
            for row in (running & result.done).nonzero().flatten().tolist():
                success[row] = result.success[row] and not _flag(result.info, "fault", row)
                lengths[row] = step + 1
            running &= ~result.done
            if not running.any():
                break
        return self._record(torch.stack(sent, dim=1), seams, success, lengths, 1 / policy.interface.control_rate_hz)

    def _record(
        self, sent: Tensor, seams: list, success: Tensor, lengths: list[int], period_s: float
    ) -> dict[str, Any]:
        jumps = torch.cat([jump[alive] for jump, alive in seams])
        jerks = [rms_jerk(sent[row, :length], 1 / period_s) for row, length in enumerate(lengths)]
        steps = [length for length, won in zip(lengths, success.tolist()) if won]
        won = int(success.sum())
        return {
            "successes": won,
            "success_rate": won / len(lengths),
            "wilson95": wilson(won, len(lengths)),
            "steps_mean": sum(steps) / max(1, len(steps)),
            "seams": len(jumps),
            "seam_mean": float(jumps.mean()),
            "seam_p95": float(jumps.quantile(0.95)),
            "jerk_rms_mean": sum(jerks) / len(jerks),
        }


def _flag(info: Mapping[str, Tensor], name: str, row: int) -> bool:
    return bool(info[name][row]) if name in info else False


if __name__ == "__main__":
    tyro.cli(Handover, description=__doc__).run()
