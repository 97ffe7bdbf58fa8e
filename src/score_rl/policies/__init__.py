"""Base policies: flow policies of our own, and other people's."""
