"""A task, demonstrations or policies, live in the browser (`score view`)."""
