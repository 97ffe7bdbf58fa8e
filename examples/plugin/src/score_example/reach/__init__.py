"""Reach: a task in a world of this distribution."""
