"""Stow Cube: task, demonstrator, recipe."""
