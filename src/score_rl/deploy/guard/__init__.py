"""The guard: nothing leaves for the robot that is outside its limits."""
