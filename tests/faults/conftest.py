"""The small artefacts of other tests."""

import sys
from pathlib import Path

for folder in ("deploy", "evaluation"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
