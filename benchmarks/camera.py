"""How well demonstrations tell where the depth camera stands and how high the table is, against the proxy's draws.

    python benchmarks/camera.py --robots 101 211 313

Records demonstrations of Pinch Cube, calibrates from them with and without their clouds of the hand, and compares
with the truth, which nothing else reads.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from score_rl.core.clouds import CloudConfig, cloud_views
from score_rl.core.files import write_json
from score_rl.core.process import describe_process
from score_rl.core.records import read_json
from score_rl.core.seeding import derive_seed
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.real2sim.calibrate import calibrate
from score_rl.real2sim.clouds import HAND_CLOUD, CloudFit, fit_clouds
from score_rl.real2sim.joints import OFFSETS
from score_rl.real2sim.settings import CalibrateConfig
from score_rl.sim.camera import reported
from score_rl.sim.domain import Distribution, Domain, load_domain
from score_rl.sim.draws import Draws
from score_rl.sim.task import get_task
from score_rl.sim.world import make_world
from score_rl.tasks.people.collect import demonstrate, features
from score_rl.tasks.people.habits import Habits

TASK = get_task("pinch_cube")
PARAMETERS = TASK.parameters
PLACES_M = np.array([0.5, 0, 0.1]) + [[0.1, 0.1, 0], [-0.1, 0.1, 0], [0.1, -0.1, 0], [-0.1, -0.1, 0], [0, 0, 0.2]]
"""Of the workspace, where errors are told."""
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Benchmark:
    """Camera and table of several robots."""

    robots: tuple[int, ...]
    """Robot seeds."""
    episodes: int = 24
    """Demonstrations of every robot."""
    fit_episodes: int = 12
    """Of them, whose beginnings are replayed to find the joints."""
    hand_points: int = 128
    """Points of the hand in a frame."""
    result: Path = Path("benchmarks/results/camera.json")
    """Result file to write."""


def main() -> None:
    """Measure and write one record per robot; those of other robots in the file stay."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    process = describe_process()
    about = {key: process[key] for key in ("commit", "command", "machine")}
    kept = read_json(benchmark.result) if benchmark.result.exists() else []
    records = {record["robot_seed"]: record for record in kept}
    for robot in benchmark.robots:
        records[robot] = measured(robot, benchmark) | about
    write_json(benchmark.result, [records[robot] for robot in sorted(records)])


def measured(robot: int, benchmark: Benchmark) -> dict[str, object]:
    """Errors of every way to find camera and table."""
    began, proxy = time.process_time(), load_domain("proxy")
    true = PARAMETERS.nominal() | Draws(proxy, PARAMETERS).robot(robot)
    seen = recorded(proxy, robot, benchmark)
    without_clouds = {name: column for name, column in seen.columns.items() if name != HAND_CLOUD}
    config = CalibrateConfig(fit_episodes=benchmark.fit_episodes, threads=1)
    estimates = calibrate(replace(seen, columns=without_clouds), TASK, load_domain("twin"), config).estimates
    offset = np.concatenate([np.array(estimates[name].value) for name in OFFSETS])
    clouds, raw = fitted(seen, offset), fitted(seen, np.zeros_like(offset))
    still = replace(proxy, episode=proxy.episode | {"camera.flying_share": Distribution("constant", ((0.0,),))})
    unmixed = fitted(recorded(still, robot, benchmark), offset)
    poses = {name: np.array(estimate.value) for name, estimate in estimates.items()}
    ways = {"uncalibrated": {}, "poses": poses} | {
        way: {name: value for name, (value, _) in fit.estimates(np.array(proxy.camera.target_m)).items()}
        for way, fit in (("clouds", clouds), ("clouds_raw_joints", raw), ("clouds_nothing_flies", unmixed))
    }
    prior = PARAMETERS["table.height_m"].prior
    assert prior is not None
    table = {"uncalibrated": (0.0, prior.sd), "clouds": (clouds.table_height_m, clouds.table_sd_m)}
    table["poses"] = poses["table.height_m"].item(), estimates["table.height_m"].sd[0]
    return {
        "robot_seed": robot,
        "episodes": benchmark.episodes,
        "hand_frames": clouds.hand_frames,
        "place_error_mm": {way: place_error_mm(proxy, true, values) for way, values in ways.items()},
        "place_sd_mm": float(1e3 * np.mean([np.linalg.norm(clouds.camera.sd_m(place)) for place in PLACES_M])),
        "table_error_mm": {way: 1e3 * (value - true["table.height_m"].item()) for way, (value, _) in table.items()},
        "table_sd_mm": {way: 1e3 * sd for way, (_, sd) in table.items()},
        "cpu_s": time.process_time() - began,
    }


def recorded(domain: Domain, robot: int, benchmark: Benchmark) -> Dataset:
    """Demonstrations with clouds, as they come back from their files."""
    views = cloud_views(CloudConfig(hand_points=benchmark.hand_points), 1)
    world = make_world(TASK.name, domain, benchmark.episodes, robot, threads=1, views=views)
    seeds = [derive_seed("collect", 0, number) for number in range(benchmark.episodes)]
    with tempfile.TemporaryDirectory() as folder:
        writer = DatasetWriter(Path(folder) / "dataset", 10, features(world), world.robot.name)
        for shown in demonstrate(world, Habits(), seeds):
            writer.add_episode(shown.frames, TASK.description, shown.extra)
        writer.finalize()
        return load_dataset(Path(folder) / "dataset")


def fitted(dataset: Dataset, offset: np.ndarray) -> CloudFit:
    """The camera as the hand shows it; offset: (joints,) true minus measured."""
    found = fit_clouds(dataset, TASK, PARAMETERS, offset)
    assert found is not None
    return found


def place_error_mm(proxy: Domain, true: Values, estimated: Values) -> float:
    """Mean distance between where robot and twin report a point to be."""
    shown = []
    for values in (true, PARAMETERS.nominal() | dict(estimated)):
        matrix, offset = reported(proxy.camera, {name: value[None] for name, value in values.items()})
        shown.append(PLACES_M @ matrix[0].T + offset[0])
    return float(1e3 * np.linalg.norm(shown[1] - shown[0], axis=1).mean())


if __name__ == "__main__":
    main()
