"""lerobot trains a diffusion policy by its own command and serves it from its own environment (LEROBOT: its bin)."""

import os
import subprocess
from pathlib import Path

from place_demonstrations import record

from score_rl.cli.main import main

lerobot = Path(os.environ["LEROBOT"])
record("demonstrations", "state", "environment_state")
training = """
    --dataset.repo_id=places --dataset.root=demonstrations --batch_size=32 --steps=500 --num_workers=0
    --policy.type=diffusion --policy.noise_scheduler_type=DDIM --policy.num_inference_steps=8
    --policy.n_obs_steps=1 --policy.horizon=8 --policy.n_action_steps=8 --policy.down_dims=[32,64]
    --policy.optimizer_lr=0.002 --policy.scheduler_warmup_steps=20 --policy.device=cpu
    --policy.push_to_hub=false --output_dir=lerobot
"""
subprocess.run([lerobot / "lerobot-train", *training.split()], check=True)
serving = """
    -m score_client.policy_server score_client.lerobot_policy:load --port 0
    --option path=lerobot/checkpoints/last/pretrained_model --option control_rate_hz=10
"""
with subprocess.Popen([lerobot / "python", *serving.split()], stdout=subprocess.PIPE, text=True) as server:
    uri = next(line for line in server.stdout if "openpi://" in line).split(" on ")[1].strip()
    WORLD = "--world vecenv:places:Places?success=success&low=-1&high=1&actor=state,environment_state"
    for command in (
        f"steer --policy {uri} {WORLD} --learner.decisions 8 --num-envs 64 --control-steps 100000 --out steering",
        f"evaluate --policy {uri} --steering steering {WORLD} --out evaluation",
    ):
        if main(f"--task generic {command}".split()):
            server.kill()
            raise SystemExit(command)
    server.kill()
