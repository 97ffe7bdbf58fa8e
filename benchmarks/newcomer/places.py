"""Somebody's environment, in rsl_rl's interface: a point goes to the one of four places that it is shown."""

import torch

PLACES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


class Places:
    num_actions, max_episode_length, device, cfg, step_dt = 2, 60, "cpu", {}, 0.1

    def __init__(self, num_envs):
        self.num_envs, self.draw = num_envs, torch.Generator()
        self.point, self.goal, self.age = torch.zeros(num_envs, 2), torch.zeros(num_envs, 2), torch.zeros(num_envs)

    def seed(self, seed):
        self.draw.manual_seed(seed)

    def reset(self):
        self.start(torch.ones(self.num_envs, dtype=torch.bool))

    def start(self, rows):
        self.point[rows], self.age[rows] = 0.0, 0.0
        self.goal[rows] = PLACES[torch.randint(4, (self.num_envs,), generator=self.draw)][rows]

    def get_observations(self):
        both = torch.cat([self.point, self.goal], dim=1)
        return {"policy": both, "state": self.point.clone(), "environment_state": self.goal.clone()}

    def step(self, actions):
        self.point += 0.05 * actions
        self.age += 1
        success, late = (self.point - self.goal).norm(dim=1) < 0.25, self.age >= self.max_episode_length
        self.start(success | late)
        return (
            self.get_observations(),
            success.float(),
            success | late,
            {"success": success, "time_outs": late & ~success},
        )
