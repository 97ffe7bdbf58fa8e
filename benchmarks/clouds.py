"""What point clouds cost: looks, encoders, pretraining and steering, in CPU time of one core, beside poses.

    score benchmark experiments/clouds.toml
    python benchmarks/clouds.py --poses runs/clouds/runs/pinch_cube/robot-211/base \\
        --clouds runs/clouds/runs/pinch_cube/robot-211/base-HASH --twin .../calibration/domain.toml \\
        --demonstrations .../demonstrations

Policies, twin and demonstrations (with clouds) are those that the experiment left. CPU time counts what a core works,
whatever else the machine does; the fastest of the repeats is told.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from score_rl.core.clouds import CLOUD, CLOUD_SEEN, CloudConfig, cloud_views
from score_rl.core.files import write_json
from score_rl.core.runs import describe_process, start_run
from score_rl.data.dataset import load_dataset
from score_rl.policies.flow.policy import ConditionalFlow, load_policy
from score_rl.policies.flow.train import initial_state, policy_spec, split_windows, train_step
from score_rl.sim.camera import Camera
from score_rl.sim.domain import Domain, load_domain
from score_rl.sim.world import make_world
from score_rl.steering.config import Stage
from score_rl.steering.loop import steer
from score_rl.tasks.recipe import get_recipe, seeing


@dataclass(frozen=True)
class Benchmark:
    """Cost of point clouds."""

    poses: Path
    """Policy that sees poses."""
    clouds: Path
    """Policy that sees clouds."""
    twin: Path
    """Calibrated twin in which both are steered."""
    demonstrations: Path
    """Dataset with clouds that both are pretrained on."""
    num_envs: int = 128
    """Environments side by side."""
    repeats: int = 5
    """Of every measurement."""
    iterations: int = 4
    """Of steering, in one repeat."""
    training_steps: int = 50
    """Of pretraining, in one repeat."""
    result: Path = Path("benchmarks/results/clouds_cost.json")
    """Result file to write."""


def main() -> None:
    """Measure and write one record per figure."""
    benchmark = tyro.cli(Benchmark, description=__doc__)
    torch.set_num_threads(1)
    process = describe_process()
    records = [*looks(benchmark), *encoders(benchmark), *pretraining(benchmark), *steering(benchmark)]
    about = {key: process[key] for key in ("commit", "command", "machine")}
    write_json(benchmark.result, [record | {"repeats": benchmark.repeats} | about for record in records])


def looks(benchmark: Benchmark) -> list[dict[str, object]]:
    """One look at the start of episodes."""
    twin, records = load_domain("twin"), []
    sights = {
        "full surfaces": replace(twin, camera=Camera(kind="full")),
        "visible": twin,
        "depth camera": load_domain("proxy"),
    }
    for points, hand in ((128, False), (512, True)):
        for name, domain in sights.items():
            cost = look_s(domain, CloudConfig(points, hand), benchmark)
            records.append({"what": f"look: {name}", "points": points, "core_us": 1e6 * cost / benchmark.num_envs})
    return records


def look_s(domain: Domain, config: CloudConfig, benchmark: Benchmark) -> float:
    """CPU seconds of one look at all environments."""
    world = make_world("pinch_cube", domain, benchmark.num_envs, 101, threads=1, views=cloud_views(config, 1))
    world.reset(range(benchmark.num_envs))
    return fastest(lambda: world.look((CLOUD, CLOUD_SEEN)), benchmark.repeats)


def encoders(benchmark: Benchmark) -> list[dict[str, object]]:
    """What a policy makes of a window, per decision."""
    records = []
    for name, path in (("poses", benchmark.poses), ("clouds", benchmark.clouds)):
        policy = load_policy(path)
        window = {key: torch.rand(benchmark.num_envs, *array.shape) for key, array in policy.spec.window.items()}
        cost = fastest(lambda policy=policy, window=window: policy.encode(window), benchmark.repeats)
        points = policy.spec.interface.views[CLOUD].shape[0] if policy.spec.interface.views else 0
        records.append({"what": f"encoder: {name}", "points": points, "core_us": 1e6 * cost / benchmark.num_envs})
    return records


def pretraining(benchmark: Benchmark) -> list[dict[str, object]]:
    """A step of the recipe's pretraining, of which there are `steps`; poses and clouds take turns."""
    dataset, states, seconds = load_dataset(benchmark.demonstrations), {}, {}
    for name, observation in (("poses", "pose"), ("clouds", "cloud")):
        config = seeing(get_recipe("pinch_cube"), observation).pretrain.training
        spec = policy_spec(dataset, config)
        windows, _ = split_windows(dataset, spec, config)
        states[name], seconds[name] = (initial_state(spec, windows, config), windows, config), []
    for _ in range(benchmark.repeats):
        for name, state in states.items():
            began = time.process_time()
            for _ in range(benchmark.training_steps):
                train_step(*state)
            seconds[name].append(time.process_time() - began)
    return [
        {
            "what": f"pretraining step: {name}",
            "points": 0 if name == "poses" else CloudConfig().points,
            "core_us": 1e6 * min(times) / benchmark.training_steps,
            "steps": states[name][2].steps,
        }
        for name, times in seconds.items()
    ]


def steering(benchmark: Benchmark) -> list[dict[str, object]]:
    """Steering as a whole, per control step; poses and clouds take turns."""
    policies = {"poses": load_policy(benchmark.poses), "clouds": load_policy(benchmark.clouds)}
    seconds: dict[str, list[float]] = {name: [] for name in policies}
    steps = benchmark.iterations * steps_of_iteration(benchmark)
    for _ in range(benchmark.repeats):
        for name, policy in policies.items():
            seconds[name].append(steering_s(policy, steps, benchmark))
    return [
        {"what": f"steering: {name}", "points": 0 if name == "poses" else 128, "core_us": 1e6 * min(times) / steps}
        for name, times in seconds.items()
    ]


def steps_of_iteration(benchmark: Benchmark) -> int:
    """Control steps of one iteration of the recipe's learner."""
    learner = get_recipe("pinch_cube").steer.learner
    return benchmark.num_envs * learner.decisions * learner.execute_steps


def steering_s(policy: ConditionalFlow, steps: int, benchmark: Benchmark) -> float:
    """CPU seconds of so many control steps of steering."""
    learner, views = get_recipe("pinch_cube").steer.learner, policy.spec.interface.views
    world = make_world("pinch_cube", benchmark.twin, benchmark.num_envs, threads=1, views=views)
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(Path(folder) / "run", "steer", learner, {"training": 0})
        began = time.process_time()
        steer(policy, [Stage(world, steps)], learner, run)
        return time.process_time() - began


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Least CPU seconds of a call; one more comes first and is not counted."""
    function()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
