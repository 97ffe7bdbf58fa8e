"""Demonstration collection in the hardware proxy."""
