"""What `score` finds through the entry points of this distribution."""
