"""Tasks: a folder each, with task, demonstrator and recipe; found through the entry points `score_rl.tasks`."""
