"""Robots: one folder each, with its record (joints, limits, gains), its bodies and its hand's postures."""
