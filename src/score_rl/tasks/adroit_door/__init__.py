"""Adroit door: the recipe; its world is gymnasium-robotics'."""
