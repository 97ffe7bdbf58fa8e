"""Plumbing without robotics: files, checkpoints, seeding, statistics, flow integrators, geometry."""
