"""Does lerobot's own SmolVLA, in an environment of its own, keep the contract of a base policy?

    python benchmarks/lerobot_flow.py                        # makes the environment, which takes minutes
    python benchmarks/lerobot_flow.py --lerobot ENV/bin      # ENV: lerobot[smolvla] 0.4.4 and ./client

A SmolVLA with random weights (`lerobot_smolvla.py`; nothing is downloaded) is served there by `score_client`, opened
here as `openpi://...` and held against `core.testing.check_policy`; then it is asked what its padded latent changes.
A briefly trained diffusion policy of lerobot is steered in `newcomer/lerobot_policy.py`. Writes
benchmarks/results/lerobot_flow.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from score_rl.contracts import FlowPolicy
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.testing import check_policy
from score_rl.policies.open import open_policy

HERE = Path(__file__).parent
ASKED = "lerobot[smolvla]==0.4.4"
SHOWN = ("lerobot", "transformers", "torch")
ROWS = 8
"""Windows and latents that are asked for."""


@dataclass(frozen=True)
class LerobotFlow:
    """Serve it, check it, and note what was found."""

    lerobot: Path | None = None
    """Folder of the python of an environment with lerobot and ./client; made where not given."""
    out: Path = HERE / "results" / "lerobot_flow.json"
    """Result file."""

    def run(self) -> None:
        """One record."""
        with tempfile.TemporaryDirectory() as folder:
            binaries = self.lerobot or make_environment(Path(folder) / "environment")
            model = Path(folder) / "model"
            made = subprocess.check_output([binaries / "python", HERE / "lerobot_smolvla.py", model], text=True)
            with served(binaries / "python", model) as uri:
                record = examine(open_policy(uri))
            beside = json.loads(subprocess.check_output([binaries / "python", "-c", ASK]))
        record = {"policy": "smolvla", "weights": int(made.split()[-1]), **record, "beside": beside}
        print(record, flush=True)
        write_json(self.out, {"benchmark": "lerobot_flow", **record, **describe_process()})


ASK = f"""
import importlib.metadata, json
print(json.dumps({{name: importlib.metadata.version(name) for name in {SHOWN}}}))
"""


def make_environment(folder: Path) -> Path:
    """The folder of the python of a new environment with lerobot and the client."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", ASKED, str(HERE.parent / "client")], check=True)
    return folder / "bin"


@contextmanager
def served(python: Path, model: Path) -> Iterator[str]:
    """The address of a model while it is served."""
    options = [f"path={model}", "control_rate_hz=10", "task=go there"]
    command = [python, "-m", "score_client.policy_server", "score_client.lerobot_policy:load", "--port", "0"]
    command += [word for option in options for word in ("--option", option)]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=offline) as server:
        try:
            yield next(line for line in server.stdout if "openpi://" in line).split(" on ")[1].strip()
        finally:
            server.kill()


def examine(policy: FlowPolicy) -> dict[str, Any]:
    """Shapes, whether it conforms, whether chunks repeat to the bit, and what its latent's parts change in them."""
    check_policy(policy)
    spec, draw = policy.spec, torch.Generator().manual_seed(0)
    window = {
        key: torch.randint(256, (ROWS, *array.shape), generator=draw).to(getattr(torch, array.dtype))
        for key, array in spec.window.items()
    }
    context, latent = policy.encode(window), torch.randn(ROWS, *spec.latent_shape, generator=draw)
    chunk, padding = policy.decode(context, latent), latent.clone()
    padding[..., spec.interface.action_dim :] = 0.0
    change = {
        "latent_zero": policy.decode(context, torch.zeros_like(latent)),
        "padding_zero": policy.decode(context, padding),
    }
    return {
        "conforms": True,
        "latent_shape": list(spec.latent_shape),
        "chunk_shape": list(spec.chunk_shape),
        "features": context.features.shape[1],
        "n": ROWS,
        "repeats": bool(torch.equal(chunk, policy.decode(context, latent))),
        "largest_change": {name: round(float((other - chunk).abs().max()), 4) for name, other in change.items()},
    }


if __name__ == "__main__":
    tyro.cli(LerobotFlow, description=__doc__).run()
