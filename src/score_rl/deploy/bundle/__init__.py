"""The bundle: one folder for the robot's computer; its specification, manifest and export."""
