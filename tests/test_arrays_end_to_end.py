"""Points (16, 3) and a picture (8, 8, 3) from the dataset through every stage to the robot, the client and ONNX."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from score_client import ChunkBroker, ClientConfig, PolicyClient
from seeing import INTERFACE, Points, SeeingWorld, write_demonstrations
from serving import running

from score_rl.contracts import ArraySpec
from score_rl.core.chunks import ChunkRunner
from score_rl.core.interfaces import as_array
from score_rl.core.runs import start_run
from score_rl.core.testing import check_policy, check_world
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.deploy.bundle.bundle import Bundle, create_bundle
from score_rl.deploy.bundle.spec import world_limits
from score_rl.deploy.drivers.protocol import Reading, RobotSpec
from score_rl.deploy.runtime.recorder import Recorder
from score_rl.deploy.runtime.runtime import Runtime
from score_rl.evaluation.evaluate import evaluate
from score_rl.evaluation.support.meter import SupportConfig, SupportMeter
from score_rl.policies.flow import encoders
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import ConditionalFlow, FlowConfig, PolicyConfig, load_policy
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig, policy_spec, pretrain
from score_rl.steering.loop import Stage, SteerConfig, steer
from score_rl.steering.policy import BaseDecider, decision_noise
from score_rl.steering.ppo import PPOConfig

STEPS, HISTORY, HORIZON = 2, 2, 4
PRETRAIN = PretrainConfig(
    policy=PolicyConfig(
        RepresentationConfig(
            keys=("position", "command", "marks"),
            views=("picture",),
            history=HISTORY,
            horizon=HORIZON,
            action="relative",
            encoders={"marks": "points"},
        ),
        NetworkConfig(widths=(16,), time_features=8),
        FlowConfig(width=0.3, steps=2),
    ),
    steps=30,
    batch_size=16,
    observation_noise={"marks": 0.01},
    validate_every=30,
    checkpoint_every=15,
)
STEER = SteerConfig(execute_steps=STEPS, decisions=8, ppo=PPOConfig(hidden=(8,), epochs=1))


@pytest.fixture(scope="module", autouse=True)
def points():
    """The test's own encoder, by its name."""
    encoders.ENCODERS["points"] = Points
    yield
    del encoders.ENCODERS["points"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return write_demonstrations(folder / "dataset")


@pytest.fixture(scope="module")
def base(folder: Path, dataset: Dataset) -> ConditionalFlow:
    return pretrain(dataset, PRETRAIN, start_run(folder / "base", "pretrain", PRETRAIN, {}))


@pytest.fixture(scope="module")
def bundle(folder: Path, base: ConditionalFlow) -> Bundle:
    world = SeeingWorld()
    steer(base, [Stage(world, 128)], STEER, start_run(folder / "steer", "steer", STEER, {}))
    limits = world_limits(world.spec)
    return create_bundle(folder / "bundle", folder / "base", folder / "steer" / "steering", limits, "toy")


def test_the_world_conforms_and_the_dataset_says_what_it_shows(dataset: Dataset) -> None:
    check_world(SeeingWorld)
    assert dataset.features["observation.marks"].dtype == "float16"
    observed = INTERFACE.observation | INTERFACE.views
    assert dataset.interface() == replace(INTERFACE, observation=observed, views={})
    picture = dataset.columns["observation.picture"]
    assert picture.shape == (60, 8, 8, 3) and picture.dtype == np.uint8


def test_the_policy_conforms_and_its_encoder_was_trained(
    base: ConditionalFlow, dataset: Dataset, folder: Path
) -> None:
    check_policy(base)
    assert base.spec == policy_spec(dataset, PRETRAIN) and base.spec.interface == INTERFACE
    assert [array.shape for array in base.spec.window.values()] == [(2, 1), (2, 1), (2, 16, 3), (1, 8, 8, 3)]
    assert base.representation.context_width == 2 * 2 + 192 + 8  # two frames of two numbers, pixels, points
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PRETRAIN.seed)
        untrained = Points(base.spec, ("marks",), 0.01)
    before = untrained.points[0].weight
    assert (base.representation.encoders[2].points[0].weight - before).abs().max() > 1e-4
    assert load_policy(folder / "base").fingerprint() == base.fingerprint()


def test_a_window_is_looked_at_once_per_decision_and_holding_needs_no_look(base: ConditionalFlow) -> None:
    world = SeeingWorld(num_envs=2, time_limit=3)
    runner = ChunkRunner(world, base.spec, 4, filler=None)
    runner.start([0, 1])
    first = runner.window
    assert torch.equal(runner.window["picture"], first["picture"]) and world.looks == 2
    runner.execute(torch.full((2, 4, 1), 0.25))  # both rows end inside, and hold
    assert world.looks == 2 and world.age.tolist() == [1, 1]
    assert not torch.equal(runner.window["picture"], first["picture"]) and world.looks == 4
    base_chunk = BaseDecider(base)
    filler = ChunkRunner(
        world, base.spec, 4, lambda w: base_chunk.decide(w, torch.zeros(len(w["marks"]), 4, 1)).chunk
    )
    filler.start([0, 1])
    filler.execute(torch.zeros(2, 4, 1))
    assert world.looks == 6  # one look for each row whose episode began inside the chunk


def test_it_is_steered_and_evaluated_with_support(base: ConditionalFlow, bundle: Bundle) -> None:
    assert bundle.spec.method == "score"
    for decider in (BaseDecider(base), bundle.decider):
        outcome = evaluate(SeeingWorld(num_envs=2), decider, [5, 6, 7], STEPS, traced=2, reader=base.spec)
        assert outcome.trace["observation.marks"].shape[2:] == (16, 3) and len(outcome.episodes) == 3
        executed = outcome.executed
        assert {key: (value.shape[1:], value.dtype) for key, value in executed.window.items()} == {
            "position": ((2, 1), torch.float32),
            "command": ((2, 1), torch.float32),
            "marks": ((2, 16, 3), torch.float32),
            "picture": ((1, 8, 8, 3), torch.uint8),
        }
        meter = SupportMeter(base, (-1.0,), (1.0,), SupportConfig(samples=9, level=0.1, probes=8))
        assert meter.measure(executed).chunk.isfinite().all()
    # What the support of a decision was measured at is what the decision had seen.
    one = evaluate(SeeingWorld(num_envs=1), BaseDecider(base), [5], STEPS, reader=base.spec)
    again = base.decode(base.encode(one.executed.window), _latents(len(one.executed.chunk)))
    whole = one.executed.steps == STEPS
    assert torch.allclose(again[whole, :STEPS].clamp(-1, 1), one.executed.chunk[whole], atol=1e-6)


def _latents(decisions: int) -> torch.Tensor:
    return torch.cat([decision_noise([5], k, (HORIZON, 1)).clamp(-3, 3) for k in range(decisions)])


def test_onnx_gives_the_same_chunks(bundle: Bundle, folder: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from score_rl.deploy.bundle.export import export_onnx, largest_difference
    from score_rl.deploy.bundle.onnx_runtime import OnnxPolicy
    from score_rl.pipeline.deployment import random_windows

    policy = OnnxPolicy(export_onnx(bundle, folder / "policy.onnx"))
    assert policy.window["picture"] == ((1, 8, 8, 3), "uint8")
    noise = np.random.default_rng(0).standard_normal((20, HORIZON, 1), dtype=np.float32)
    assert largest_difference(bundle, policy, random_windows(bundle, 20), noise) < 1e-5


def test_the_served_policy_decides_as_the_bundle(bundle: Bundle) -> None:
    world = SeeingWorld(num_envs=1)
    with running(bundle) as server, PolicyClient(ClientConfig(f"ws://127.0.0.1:{server.port}")) as client:
        assert client.metadata.interface.views["picture"].shape == (8, 8, 3)
        with pytest.raises(ValueError, match="looks at picture"):
            ChunkBroker(client)
        broker = ChunkBroker(client, look=lambda keys: {k: v[0].numpy() for k, v in world.look(keys).items()})
        broker.reset(seed=3)
        runner = ChunkRunner(world, bundle.spec.policy, 1, filler=None)
        runner.start([9])
        for step in range(6):
            window = runner.window
            action = broker.act({key: value[0].numpy() for key, value in runner.observation.actor.items()})
            if step % STEPS == 0:
                noise = decision_noise([3], step // STEPS, (HORIZON, 1))
                chunk = bundle.decide(window, noise).chunk[0].numpy()
            np.testing.assert_allclose(action, chunk[step % STEPS], atol=1e-6)
            runner.execute(torch.from_numpy(action).view(1, 1, 1))


class SeeingRobot:
    """`SeeingWorld` as a driver that waits for every command; `blind_at`: decisions at which its camera fails."""

    def __init__(self, blind_at: tuple[int, ...] = ()) -> None:
        self.world, self.blind_at, self.looks = SeeingWorld(num_envs=1), blind_at, 0
        self.spec = RobotSpec("seeing", INTERFACE, speed=0.0)

    def connect(self) -> RobotSpec:
        return self.spec

    def begin(self, seed: int) -> Reading:
        self.number = 0
        return self._reading(self.world.reset([seed]).actor)

    def observe(self, timeout_s: float) -> Reading:
        return self.last

    def look(self, keys: Any) -> dict[str, np.ndarray]:
        self.looks += 1
        if self.looks in self.blind_at:
            raise TimeoutError("no picture")
        return {key: value[0].numpy() for key, value in self.world.look(keys).items()}

    def command(self, command: np.ndarray) -> np.ndarray:
        result = self.world.step(torch.from_numpy(command)[None])
        self.number += 1
        self._reading(result.final_observation.actor, "time_limit" if bool(result.done[0]) else "")
        return command

    def stop(self) -> None:
        pass

    def _reading(self, frame: Any, ended: str = "") -> Reading:
        shown = {key: value[0].numpy() for key, value in frame.items()}
        self.last = Reading(self.number, time.monotonic(), shown, ended=ended)
        return self.last


def test_a_robots_camera_is_asked_once_per_decision(bundle: Bundle, tmp_path: Path) -> None:
    robot = SeeingRobot()
    with Recorder(tmp_path, robot.spec, "toy") as recorder:
        runtime = Runtime(bundle, robot, robot.spec, recorder=recorder)
        (report,) = runtime.run([5])
        runtime.close()
    assert robot.looks == report.decisions == -(-report.steps // STEPS) and report.fallbacks == 0
    expected = evaluate(SeeingWorld(num_envs=1), bundle.decider, [5], STEPS, traced=1).trace
    stored = load_dataset(tmp_path / "dataset")
    assert "observation.picture" not in stored.columns and stored.features["observation.marks"].shape == (16, 3)
    sent = expected["action"][0].clamp(-1, 1).numpy()
    np.testing.assert_allclose(stored.columns["policy_action"], sent[: report.steps], atol=1e-6)


def test_recorded_views_are_asked_for_at_every_step_and_belong_to_their_frame(bundle: Bundle, tmp_path: Path) -> None:
    robot = SeeingRobot(blind_at=(2,))  # at the second step, at which nothing is decided
    with Recorder(tmp_path, robot.spec, "toy", views=True) as recorder:
        runtime = Runtime(bundle, robot, robot.spec, recorder=recorder)
        (report,) = runtime.run([5])
        runtime.close()
    assert robot.looks == report.steps and report.decisions == -(-report.steps // STEPS)
    stored, world = load_dataset(tmp_path / "dataset"), SeeingWorld(num_envs=1)
    world.reset([5])
    shown: list[np.ndarray] = []
    for action in stored.columns["action"]:
        shown.append(world.look(["picture"])["picture"][0].numpy())
        world.step(torch.from_numpy(action)[None])
    shown[1] = shown[0]  # the last one is kept
    np.testing.assert_array_equal(stored.columns["observation.picture"], shown)
    unseen = Runtime(bundle, robot, robot.spec)
    assert unseen.run([5])[0].decisions == report.decisions  # recording changes no decision
    unseen.close()


def test_a_camera_that_fails_makes_the_robot_hold_and_go_on(bundle: Bundle) -> None:
    robot = SeeingRobot(blind_at=(1, 2))
    runtime = Runtime(bundle, robot, robot.spec)
    (report,) = runtime.run([5])
    runtime.close()
    assert report.guard["hold: no_command"] == 2 and report.ended == "time_limit"
    assert robot.looks == report.decisions + 2


def test_pixels_are_never_converted() -> None:
    picture = ArraySpec((2, 2, 3), "uint8")
    assert as_array(np.full((2, 2, 3), 255, np.uint8), picture, "picture").dtype == np.uint8
    with pytest.raises(ValueError, match="picture is float64, expected uint8"):
        as_array(np.full((2, 2, 3), 255.0), picture, "picture")
