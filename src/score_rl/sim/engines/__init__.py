"""Engines, one file each behind the protocol in `engine.py`."""
