"""Screw Lightbulb: task, demonstrator, recipe."""
