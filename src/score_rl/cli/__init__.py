"""The commands of `score`: each takes files, runs one stage, and leaves files."""
