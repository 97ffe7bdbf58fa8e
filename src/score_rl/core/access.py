"""The key that a server and its clients share."""

from __future__ import annotations

import os
from pathlib import Path

from score_rl.core.errors import ScoreError

API_KEY_VARIABLE = "SCORE_API_KEY"
"""Environment variable with the API key; a key on the command line could be read by every user of the machine."""


def read_api_key(path: Path | None = None) -> str | None:
    """The key in the file, else in the environment, else None. Raises ScoreError for one that is missing or weak."""
    key = os.environ.get(API_KEY_VARIABLE)
    if path is not None:
        try:
            key = Path(path).read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, ValueError) as error:
            raise ScoreError(f"cannot read the API key in {path}: {error}") from error
    if key is not None and (len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key):
        raise ScoreError(
            f"the API key needs at least 16 printable ASCII characters, without spaces ({len(key)} given)"
        )
    return key
