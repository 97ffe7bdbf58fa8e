"""Grasp Bottle: task, demonstrator, recipe."""
