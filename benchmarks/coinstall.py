"""Does score-rl install beside the simulators and policies that its users have?

    python benchmarks/coinstall.py                      # pip's resolver alone, nothing is installed
    python benchmarks/coinstall.py --install mjlab lerobot   # also into an empty environment, and steers there

For every neighbour pip resolves `score-rl` together with it for this Python, on an empty environment. With
`--install` both are really installed into a new virtual environment, where `benchmarks/coinstall_steer.py` steers a
toy for one iteration with whatever versions were chosen. Writes benchmarks/results/coinstall.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json

ROOT = Path(__file__).parent.parent
NEIGHBOURS = {
    "mjlab": "mjlab==1.6.0",
    "lerobot": "lerobot==0.4.4",
    "mani-skill": "mani-skill==3.0.1",
    "isaaclab": "isaaclab==2.3.2",
    "gymnasium-robotics": "gymnasium-robotics==1.4.2",
    "oldest": "numpy==1.26.4 torch==2.7.0",
}
"""Name -> what pip is asked for beside score-rl."""
BUILD_CONSTRAINT = "setuptools<81"
"""For building source distributions of neighbours: flatdict, which isaaclab needs, imports pkg_resources."""
SHOWN = ("torch", "numpy", "mujoco", "gymnasium", "rsl-rl-lib", "scipy", "pyarrow", "rich", "tyro")
"""Packages whose chosen versions go into the record."""


@dataclass(frozen=True)
class Coinstall:
    """Resolve, and where asked install, score-rl beside its neighbours."""

    only: tuple[str, ...] = tuple(NEIGHBOURS)
    """Neighbours to resolve."""
    install: tuple[str, ...] = ()
    """Neighbours to install for real, into an environment of their own."""
    out: Path = ROOT / "benchmarks" / "results" / "coinstall.json"
    """Result file; records of other neighbours in it stay."""

    def run(self) -> None:
        """One record per neighbour."""
        known = {record["neighbour"]: record for record in read_json(self.out)} if self.out.exists() else {}
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(Path(folder))
            for name in self.only:
                record = {"neighbour": name, "asked": NEIGHBOURS[name], **resolve(wheel, NEIGHBOURS[name].split())}
                if name in self.install:
                    record |= install_and_steer(Path(folder) / name, wheel, NEIGHBOURS[name].split())
                known[name] = record | describe_process()
                print(json.dumps({key: record[key] for key in record if key != "error"}), flush=True)
                write_json(self.out, list(known.values()))


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)],
        check=True,
    )
    return next(folder.glob("score_rl-*.whl"))


def resolve(wheel: Path, beside: list[str]) -> dict[str, Any]:
    """What pip's resolver says of both together, and which versions it chooses."""
    report = wheel.parent / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    constraint = wheel.parent / "build-constraint.txt"
    constraint.write_text(BUILD_CONSTRAINT + "\n")
    done = subprocess.run(
        [*command, "--report", str(report), str(wheel), *beside],
        env=os.environ | {"PIP_CONSTRAINT": str(constraint)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"resolves": False, "error": done.stderr.strip().splitlines()[-12:]}
    chosen = {
        entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in read_json(report)["install"]
    }
    return {"resolves": True, "chosen": {name: chosen[name] for name in SHOWN if name in chosen}}


def install_and_steer(folder: Path, wheel: Path, beside: list[str]) -> dict[str, Any]:
    """Install both into an empty environment and steer a toy there for one iteration."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel), *beside], check=True)
    done = subprocess.run(
        [python, str(ROOT / "benchmarks" / "coinstall_steer.py")], capture_output=True, text=True, check=False
    )
    return {"steers": done.returncode == 0, "said": (done.stdout or done.stderr).strip().splitlines()[-1:]}


if __name__ == "__main__":
    tyro.cli(Coinstall, description=__doc__).run()
