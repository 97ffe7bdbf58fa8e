"""Named compositions that return frozen configs."""
