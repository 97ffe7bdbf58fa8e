"""Other people's environments as worlds."""
