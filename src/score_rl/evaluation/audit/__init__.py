"""Transfer audit: which mismatch between twin and robot a policy survives, asked in twins alone."""
