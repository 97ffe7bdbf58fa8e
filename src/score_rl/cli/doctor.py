"""`score doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console

from score_rl.report.video import check_gl

State = Literal["ok", "note", "problem"]
MARKS = {
    "ok": "[green]ok     [/green]",
    "note": "[yellow]note   [/yellow]",
    "problem": "[bold red]problem[/bold red]",
}
REQUIRED = {"mujoco": "4.0.0"}
"""Packages whose exact version matters, because their internals are relied on."""
OTHERS = ("torch", "numpy", "gymnasium", "pyarrow", "safetensors", "tyro")
DISK_GB = 1.0
MEMORY_GB = 3.0


@dataclass(frozen=True)
class Finding:
    """One checked thing."""

    state: State
    what: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


@dataclass(frozen=True)
class Doctor:
    """Check this machine (versions, cores and threads, memory, disk, OpenGL) and say what to do."""

    directory: Path = Path()
    """Where runs will be written."""

    def run(self) -> None:
        """Print the findings; exits with status 1 where something would keep SCORE from working."""
        console = Console()
        findings = [finding for check in CHECKS for finding in check(self.directory)]
        for finding in findings:
            console.print(f"{MARKS[finding.state]} {finding.what}", highlight=False)
            if finding.advice:
                console.print(f"        [dim]{finding.advice}[/dim]", highlight=False)
        if any(finding.state == "problem" for finding in findings):
            sys.exit(1)


def check_python(directory: Path) -> list[Finding]:
    """Interpreter and system; an interpreter that is too old cannot import this file at all."""
    return [Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")]


def check_packages(directory: Path) -> list[Finding]:
    """Installed versions."""
    findings = []
    for name, version in REQUIRED.items():
        found = _version(name)
        fits = found == version
        advice = "" if fits else f"expected {version}: pip install {name}=={version}"
        findings.append(Finding("ok" if fits else "problem", f"{name} {found or 'is missing'}", advice))
    have = {name: _version(name) for name in OTHERS}
    missing = [name for name, version in have.items() if version is None]
    listed = ", ".join(f"{name} {version}" for name, version in have.items() if version)
    findings.append(Finding("ok", listed))
    if missing:
        findings.append(Finding("problem", f"missing: {', '.join(missing)}", "run: make test, or pip install -e ."))
    adroit = _version("gymnasium-robotics")
    if adroit is None:
        advice = "only the Adroit door needs it: pip install 'score-rl[adroit]'"
        findings.append(Finding("note", "gymnasium-robotics is missing", advice))
    return findings


def check_processor(directory: Path) -> list[Finding]:
    """Cores that may be used, and the threads of torch and of the simulator."""
    import torch

    from score_rl.core.parallel import usable_cores

    cores = usable_cores()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (not needed)"
    threads = torch.get_num_threads()
    what = f"{cores} usable cores, {threads} torch threads, accelerator: {gpu}"
    if cores == 1:
        return [Finding("note", what, "the simulator uses all cores; with one the demo takes about twice as long")]
    if threads > cores:
        return [
            Finding("note", what, f"more threads than cores slow each other down: export OMP_NUM_THREADS={cores}")
        ]
    return [Finding("ok", what)]


def check_memory(directory: Path) -> list[Finding]:
    """Memory of the machine."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return []
    if size < MEMORY_GB:
        return [Finding("note", f"{size:.1f} GB of memory", "use fewer environments: --num-envs 32")]
    return [Finding("ok", f"{size:.1f} GB of memory")]


def check_disk(directory: Path) -> list[Finding]:
    """Free space where runs are written, and whether that place can be written."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    if not os.access(place, os.W_OK):
        return [Finding("problem", f"{place} cannot be written", "choose another folder with --out")]
    if free < DISK_GB:
        return [Finding("problem", f"{free:.2f} GB free in {place}", f"a whole loop needs {DISK_GB:g} GB")]
    return [Finding("ok", f"{free:.0f} GB free in {place}")]


def check_pictures(directory: Path) -> list[Finding]:
    """OpenGL without a screen, for the videos of the report."""
    reason = check_gl()
    if not reason:
        return [Finding("ok", "OpenGL draws pictures without a screen")]
    advice = "only videos need it; on Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
    return [Finding("note", reason, advice)]


CHECKS: tuple[Callable[[Path], list[Finding]], ...] = (
    check_python,
    check_packages,
    check_processor,
    check_memory,
    check_disk,
    check_pictures,
)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
