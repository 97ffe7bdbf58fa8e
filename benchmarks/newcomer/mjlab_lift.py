"""mjlab's arm beside a cube, on the CPU through Warp: checked, steered for two iterations and evaluated, no more."""

import torch
from mjlab.envs import ManagerBasedRlEnv
from mjlab.rl import RslRlVecEnvWrapper
from mjlab.tasks.registry import load_env_cfg

from score_rl.cli.main import main
from score_rl.contracts import ArraySpec
from score_rl.core.testing import check_world
from score_rl.data.writer import DatasetWriter
from score_rl.sim.open import open_world


def make(num_envs):
    cfg = load_env_cfg("Mjlab-Lift-Cube-Yam")
    cfg.scene.num_envs, cfg.episode_length_s, cfg.seed = num_envs, 2.0, 0
    return RslRlVecEnvWrapper(ManagerBasedRlEnv(cfg, device="cpu"))


def near(step):  # 8 joints, their speeds, then the way from the hand to the cube in metres
    return step.observation["critic"][:, 16:19].norm(dim=1) < 0.2


if __name__ == "__main__":
    WORLD = "--world vecenv:mjlab_lift:make?success=mjlab_lift:near&low=-1&high=1"
    check_world(lambda: open_world(WORLD.split()[1], 4))
    env, waved = make(16), (2 * torch.rand(13, 16, 7) - 1).repeat_interleave(8, dim=0)[:99]
    seen = torch.stack([(env.get_observations()["actor"].clone(), env.step(action))[0] for action in waved])
    writer = DatasetWriter("waved", 50, {"observation.actor": ArraySpec((29,)), "action": ArraySpec((7,))}, "yam")
    for row in range(16):
        writer.add_episode({"observation.actor": seen[:, row].numpy(), "action": waved[:, row].numpy()}, "wave")
    writer.finalize()
    for command in (
        "pretrain --dataset waved --training.policy.representation.keys actor --training.steps 500 --out base",
        f"steer --policy base {WORLD} --learner.decisions 13 --num-envs 4 --control-steps 832 --out steering",
        f"evaluate --policy base --steering steering {WORLD} --evaluation.episodes 8 --out evaluation",
    ):
        assert not main(f"--task generic {command}".split()), command
