"""Evaluation on fixed seeds, statistics and the report."""
