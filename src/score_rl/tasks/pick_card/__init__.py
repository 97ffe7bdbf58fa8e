"""Pick Credit Card: task, demonstrator, recipe."""
