"""SCORE: support-constrained off-domain reinforcement (arXiv 2606.27475)."""

__version__ = "0.1.0"
