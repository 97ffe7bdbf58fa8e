"""Support: is a chunk one that the base policy could have chosen? The measure, its meter and its figures."""
