"""Demonstrations in LeRobot's format and an environment in rsl_rl's interface (places.py)."""

from place_demonstrations import record

from score_rl.cli.main import main

record("demonstrations", "policy")
WORLD = "--world vecenv:places:Places?success=success&low=-1&high=1"
for command in (
    "pretrain --dataset demonstrations --training.policy.representation.keys policy --training.steps 2000 --out base",
    f"steer --policy base {WORLD} --learner.decisions 8 --num-envs 64 --control-steps 100000 --out steering",
    f"evaluate --policy base --steering steering {WORLD} --out evaluation",
):
    if main(f"--task generic {command}".split()):
        raise SystemExit(command)
