"""Worlds: the simulator behind a domain file, and adapters for anybody else's environments."""
