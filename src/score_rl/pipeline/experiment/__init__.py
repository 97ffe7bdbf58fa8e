"""Experiments: methods x tasks x robots as a graph of jobs, its execution, and what came of it."""
