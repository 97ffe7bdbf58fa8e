"""Demonstration datasets in the LeRobotDataset v3.0 layout."""
