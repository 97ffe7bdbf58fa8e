"""The robot client: planning ahead, the control loop, recordings."""
