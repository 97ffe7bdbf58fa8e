"""Records of runs that no command made, for tests that only read them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from score_rl.core.files import write_json


def write_run_record(directory: Path, stage: str, settings: dict, inputs: dict, **changes: Any) -> None:
    """run.json and config.json of a finished run that left no digests, as if a command had written them."""
    record = {
        "kind": "score_rl.run",
        "version": 1,
        "stage": stage,
        "status": "finished",
        **{name: "" for name in ("command", "python", "commit", "started_at")},
        **{name: {} for name in ("versions", "machine", "seeds", "summary", "files")},
        "torch_threads": 1,
        "resumed": [],
        "wall_s": 0.0,
        "parts": [],
    }
    text = json.dumps(record | changes | {"sha256": ""}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_json(directory / "run.json", record | changes | {"sha256": digest})
    write_json(directory / "config.json", {"settings": settings, "inputs": inputs})
