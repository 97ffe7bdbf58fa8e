"""A policy with openpi's interface in a process of its own: it pushes a car left or right, whatever it sees."""

import subprocess
import sys

import numpy as np


class Rocker:
    def infer(self, obs, *, noise):
        return {"actions": np.clip(np.sign(noise.mean()) + 0.1 * noise, -1, 1)}


def policy():
    from score_client.openpi_policy import wrap

    observation = {"state": {"shape": [2]}}
    return wrap(Rocker(), observation, 1, 8, latent_shape=(8, 1), control_rate_hz=30, fingerprint="rocker")


if __name__ == "__main__":
    from score_rl.cli.main import main

    command = [sys.executable, "-m", "score_client.policy_server", "openpi_policy:policy", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        uri = next(line for line in server.stdout if "openpi://" in line).split(" on ")[1].strip()
        WORLD = "--world gymnasium:MountainCarContinuous-v0?success=terminated&time_limit=200"
        for command in (
            f"steer --policy {uri} {WORLD} --control-steps 100000 --out steering",
            f"evaluate --policy {uri} --steering steering {WORLD} --out evaluation",
        ):
            if main(f"--task generic {command}".split()):
                server.kill()
                raise SystemExit(command)
        server.kill()
