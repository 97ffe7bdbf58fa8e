"""Digests of everything that the loop computes, to prove that moving code changes no result.

    python tests/guard_rail.py record WORK    # writes tests/guard_rail.json
    python tests/guard_rail.py check WORK     # compares with it, exit status 1 where anything differs

WORK is a scratch folder. Digests are of values, not of files: tensors and columns whatever they are called, numbers
of records without wall times.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet
import safetensors.numpy

HERE = Path(__file__).parent
DIGESTS = HERE / "guard_rail.json"
TASKS = ("pinch_cube", "grasp_bottle", "push_ball")
TIMES = ("wall", "_s", "per_second", "time", "share_")
PROXY_ROBOT = "105"


def score(*arguments: str) -> None:
    print("score", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "score_rl.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def run_everything(work: Path) -> None:
    score("--recipe", "debug", "demo", "--out", str(work / "debug"))
    score(
        "bundle", "--policy", f"{work}/debug/base", "--steering", f"{work}/debug/steering", "--out", f"{work}/bundle"
    )
    for task in TASKS:
        out, selected = work / task, ("--task", task)
        score(
            *selected,
            "collect",
            "--robot-seed",
            PROXY_ROBOT,
            "--demonstrations.episodes",
            "40",
            "--out",
            f"{out}/collect",
        )
        score(*selected, "pretrain", "--dataset", f"{out}/collect", "--training.steps", "400", "--out", f"{out}/base")
        score(*selected, "calibrate", "--dataset", f"{out}/collect", "--out", f"{out}/calibration")
        twin = f"{out}/calibration/domain.toml"
        steer = ("steer", "--policy", f"{out}/base", "--worlds", twin, "--control-steps", "100000")
        score(*selected, *steer, "--out", f"{out}/steering")
        for name, world, seed in (("twin", twin, "0"), ("proxy", "proxy", PROXY_ROBOT)):
            given = (
                "--policy",
                f"{out}/base",
                "--steering",
                f"{out}/steering",
                "--world",
                world,
                "--robot-seed",
                seed,
            )
            score(*selected, "evaluate", *given, "--evaluation.episodes", "40", "--out", f"{out}/evaluation_{name}")


def digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def tensors(path: Path) -> str:
    loaded = safetensors.numpy.load_file(path)
    return digest(sorted(hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for v in loaded.values()))


def columns(folder: Path) -> str:
    found = []
    for file in sorted(folder.rglob("data/**/*.parquet")):
        table = pyarrow.parquet.read_table(file)
        for name in sorted(table.column_names):
            values = table[name].combine_chunks()
            found.append(hashlib.sha256(json.dumps(values.to_pylist()).encode()).hexdigest())
    return digest(sorted(found))


def timeless(record: object) -> object:
    if isinstance(record, dict):
        return {k: timeless(v) for k, v in record.items() if not any(mark in k for mark in TIMES)}
    return record


def lines(path: Path) -> str:
    return digest([timeless(json.loads(line)) for line in path.read_text().splitlines()])


def domain(path: Path) -> str:
    return digest(old_layout(tomllib.loads(path.read_text())))


NAMES = {
    "robot.delay_s": "delay_s",
    "robot.lag_s": "lag_s",
    "robot.joint_jitter_rad": "joint_jitter_rad",
    "camera.position_jitter_m": "object_position_jitter_m",
    "camera.rotation_jitter_rad": "object_rotation_jitter_rad",
}


def old_layout(table: dict) -> dict:
    """A domain's file as it was when the digests were recorded: flat names, the engine's settings beside the rest."""
    physics = {k: v for k, v in table.pop("physics").items() if k != "engine"}
    old = {"name": table.pop("name"), "physics": physics | physics.pop("mujoco")}
    old["protective_stop"] = table.pop("protective_stop")
    table.pop("provenance", None)
    for owner, entries in table.items():
        for quantity, entry in entries.items():
            name = f"{owner}.{quantity}"
            old[NAMES.get(name, name.replace(".", "_"))] = entry
    return old


def decisions(bundle: Path) -> str:
    import torch

    from score_rl.deploy.bundle.bundle import load_bundle

    loaded = load_bundle(bundle)
    spec = loaded.base.spec
    generator = torch.Generator().manual_seed(0)
    window = {k: torch.randn(16, *array.shape, generator=generator) for k, array in spec.window.items()}
    decision = loaded.decide(window, torch.randn(16, *spec.latent_shape, generator=generator))
    return digest(hashlib.sha256(np.asarray(decision.chunk).tobytes()).hexdigest())


def digests(work: Path) -> dict[str, str]:
    found = {"bundle decisions": decisions(work / "bundle")}
    roots = {"debug": (work / "debug", "demonstrations"), **{task: (work / task, "collect") for task in TASKS}}
    for name, (root, dataset) in roots.items():
        found[f"{name}: demonstrations"] = columns(root / dataset)
        found[f"{name}: base"] = tensors(root / "base" / "policy.safetensors")
        found[f"{name}: twin"] = domain(root / "calibration" / "domain.toml")
        found[f"{name}: steering"] = tensors(root / "steering" / "steering" / "steering.safetensors")
        found[f"{name}: learning"] = lines(root / "steering" / "metrics.jsonl")
        for file in sorted(root.rglob("episodes.jsonl")):
            found[f"{name}: {file.parent.relative_to(root)}"] = lines(file)
    return found


def main(mode: str, work: Path) -> int:
    shutil.rmtree(work, ignore_errors=True)
    run_everything(work)
    found = digests(work)
    if mode == "record":
        DIGESTS.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    recorded = json.loads(DIGESTS.read_text())
    for name in sorted(recorded.keys() | found.keys()):
        if recorded.get(name) != found.get(name):
            print(f"DIFFERS: {name}: {recorded.get(name)} -> {found.get(name)}")
    print(f"{sum(recorded[n] == found.get(n) for n in recorded)} of {len(recorded)} digests are the same")
    return int(recorded != found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
