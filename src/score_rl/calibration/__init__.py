"""Real-to-sim: fit the twin to the robot from its demonstrations."""
