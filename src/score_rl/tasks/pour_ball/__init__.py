"""Pour Ball: task, demonstrator, recipe."""
