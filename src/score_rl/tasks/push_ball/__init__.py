"""Push Ball: task, demonstrator, recipe."""
