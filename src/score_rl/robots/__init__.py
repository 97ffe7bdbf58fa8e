"""Robots as records: joints, limits, gains, bodies."""

from score_rl.robots.franka_leap import ARM, FINGERTIPS, FRANKA_LEAP, HAND, OBJECT, Robot, add_robot

__all__ = ["ARM", "FINGERTIPS", "FRANKA_LEAP", "HAND", "OBJECT", "Robot", "add_robot"]
