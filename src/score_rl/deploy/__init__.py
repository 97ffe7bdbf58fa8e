"""Deployment: the bundle that goes to a robot computer, its export, and what runs it there."""
