"""The real-to-sim step: estimating a robot from its demonstrations."""
