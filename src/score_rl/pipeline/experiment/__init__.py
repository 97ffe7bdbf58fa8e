"""Experiments: methods x tasks x robots as a graph of jobs, its execution on Dask, and what came of it."""
