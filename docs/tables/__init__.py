"""Tables of the documents, made from result files; see `render.py`."""

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows."""
