"""Franka FR3 with a LEAP hand."""
