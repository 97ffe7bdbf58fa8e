"""What ran: command, versions, commit and machine of this process, as every result records them."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from score_rl.core.locks import command_line
from score_rl.core.parallel import usable_cores

PACKAGES = ("score-rl", "torch", "numpy", "mujoco", "gymnasium", "pyarrow", "safetensors")
"""Packages whose versions a run records."""


def describe_process() -> dict[str, Any]:
    """Command, versions, commit and machine of this process, as every result file records them."""
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": git_commit(),
        "machine": machine(),
        "torch_threads": torch.get_num_threads(),
    }


def git_commit() -> str:
    """Commit of the source tree, with "-dirty" where it has changes; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # A package installed inside somebody else's repository must not report that one's commit.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory (GB), operating system and accelerator."""
    try:
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        memory_gb = float("nan")
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
