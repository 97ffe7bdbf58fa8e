"""Policies of the real lerobot, served from an environment of their own and steered from this one.

    python benchmarks/lerobot_policy.py                          # makes the environment first, some gigabytes
    python benchmarks/lerobot_policy.py --python ENV/bin/python  # an environment that has lerobot 0.4.4

A DDIM diffusion policy of lerobot with small weights is briefly trained there to go left or right on the tests' toy
line, without seeing which is right; `score_client.policy_server` serves it. Here it passes `check_policy` and is
evaluated, steered and evaluated again. Writes benchmarks/results/lerobot_policy.json.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.testing import check_policy
from score_rl.evaluation.run import EvaluateConfig
from score_rl.pipeline import stages
from score_rl.policies.open import open_policy
from score_rl.steering.config import SteerConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.tasks.settings import EvaluateSettings, SteerSettings

ROOT = Path(__file__).parent.parent
LEROBOT = "lerobot==0.4.4"
WORLD = "toys:ToyWorld"
HORIZON = 4
"""Actions of a chunk; the noise has twice as many rows, since the U-Net halves them."""


@dataclass(frozen=True)
class LerobotPolicy:
    """Serve, check, evaluate and steer a policy of lerobot."""

    python: Path | None = None
    """Interpreter of an environment with lerobot, msgpack and websockets; None makes one."""
    control_steps: int = 24_000
    """Budget of steering."""
    episodes: int = 100
    """Episodes of every policy, before and after."""
    out: Path = ROOT / "benchmarks" / "results" / "lerobot_policy.json"
    """Result file."""

    def run(self) -> None:
        """One record."""
        with tempfile.TemporaryDirectory() as folder:
            python = self.python or make_environment(Path(folder) / "env")
            path = os.pathsep.join((str(ROOT / "client" / "src"), str(ROOT / "benchmarks")))
            command = [str(python), "-m", "score_client.policy_server", "lerobot_toy:make", "--port", "0"]
            environment = os.environ | {"PYTHONPATH": path}
            with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
                try:
                    line = next((line for line in process.stdout if line.startswith("serving")), "")
                    if not line:
                        raise SystemExit("lerobot's environment serves nothing; see its message above")
                    write_json(self.out, self.measure(line.split(" on ")[1].strip(), Path(folder)))
                finally:
                    process.kill()

    def measure(self, uri: str, folder: Path) -> dict[str, Any]:
        """What became of the policy at a URI."""
        sys.path.insert(0, str(ROOT / "tests"))
        policy = open_policy(f"{uri}?connect_s=60")
        check_policy(policy)
        ppo = PPOConfig(learning_rate=5e-3, hidden=(32,), minibatches=2)
        learner = SteerConfig(execute_steps=HORIZON, decisions=8, latent=LatentConfig(kind="subspace"), ppo=ppo)
        settings = SteerSettings(
            task="generic", worlds=(WORLD,), control_steps=(self.control_steps,), num_envs=32, learner=learner
        )
        start = time.monotonic()
        steered = stages.steer(settings, uri, folder / "steering")
        wall_s = time.monotonic() - start
        amount = EvaluateConfig(episodes=self.episodes, num_envs=50)
        evaluation = EvaluateSettings(task="generic", world=WORLD, evaluation=amount)
        found = stages.evaluate(evaluation, uri, folder / "evaluation", steering=steered.directory)
        rates = {record["policy"]: [record["success_rate"], record["wilson95"]] for record in found.records}
        print(rates, f"{wall_s:.0f} s", flush=True)
        shapes = {"chunk": policy.spec.chunk_shape, "latent": policy.spec.latent_shape}
        return {
            "policy": LEROBOT, "world": WORLD, **shapes, "n": self.episodes, "success": rates,
            "control_steps": self.control_steps, "steer_wall_s": round(wall_s, 1), **describe_process(),
        }  # fmt: skip


def make_environment(folder: Path) -> Path:
    """Install lerobot and what the server needs; the interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", LEROBOT, "websockets>=15", "msgpack"], check=True)
    return python


if __name__ == "__main__":
    tyro.cli(LerobotPolicy, description=__doc__).run()
