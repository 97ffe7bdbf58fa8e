"""Quick Pinch: Pinch Cube, with less time to hold the cube."""
