"""Tasks: spawn, reward and success as plain functions of batched state."""
