"""Grasp Cup: task, demonstrator, recipe."""
