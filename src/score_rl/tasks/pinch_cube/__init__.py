"""Pinch Cube: task, demonstrator, recipe."""
