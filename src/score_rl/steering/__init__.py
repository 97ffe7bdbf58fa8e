"""Steering: RL over the latent of a frozen flow policy."""
