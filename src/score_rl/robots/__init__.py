"""Robots as records: joints, limits, gains, bodies."""
