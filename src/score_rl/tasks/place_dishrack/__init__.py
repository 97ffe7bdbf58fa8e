"""Place in Dishrack: task, demonstrator, recipe."""
