"""PPO glue: decision rollouts, the training loop, resume."""
