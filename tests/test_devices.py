"""The core on another device than the CPU: one that is pretended (`elsewhere`), and CUDA where there is a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import elsewhere
import numpy as np
import pytest
import torch
from torch import Tensor
from toys import ToyWorld

from score_rl.contracts import ArraySpec, Frame, Interface, Observation, World
from score_rl.core.clouds import CLOUD, CLOUD_SEEN
from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.core.seeding import rng, seeded
from score_rl.core.testing import check_world
from score_rl.data.dataset import load_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.evaluation.run import EvaluateConfig
from score_rl.evaluation.spread import SpreadConfig
from score_rl.evaluation.support.meter import SupportConfig
from score_rl.pipeline import stages
from score_rl.policies.flow import train
from score_rl.policies.flow.augmentation import AugmentConfig
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import FlowConfig, PolicyConfig, load_policy
from score_rl.policies.flow.representation import RepresentationConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.sim.moved import MovedWorld
from score_rl.sim.open import open_world
from score_rl.steering import loop
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.method import Trained
from score_rl.steering.methods import METHODS
from score_rl.steering.methods.best_of_n import BestOfNConfig
from score_rl.steering.methods.rialto import RialtoConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.steering.start import StartConfig
from score_rl.tasks.settings import EvaluateSettings, PretrainSettings, SteerSettings

pytestmark = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")  # what is pretended copies
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"))
TOY = ToyWorld().spec.interface
INTERFACE = Interface(
    observation={**TOY.observation, "palm_pose": ArraySpec((7,), unit="m, quaternion wxyz", frame="base")},
    action=TOY.action,
    control_rate_hz=TOY.control_rate_hz,
    views={CLOUD: ArraySpec((12, 3), unit="m", frame="base"), CLOUD_SEEN: ArraySpec((2,))},
)


class DeviceWorld(ToyWorld):
    """`toys.ToyWorld` on a device, whose point and goal are seen as two segments of a cloud."""

    def __init__(self, num_envs: int = 4, time_limit: int = 16, device: str = "cpu") -> None:
        super().__init__(num_envs, time_limit, "device", device)
        self.spec = replace(self.spec, interface=INTERFACE)

    def look(self, keys: Sequence[str], rows: Tensor | None = None) -> Frame:
        """See `contracts.World`."""
        chosen = range(self.spec.num_envs) if rows is None else rows.tolist()
        noise = [rng("cloud", self.seeds[row], self.episode[row], int(self.age[row])) for row in chosen]
        noise = np.stack([stream.normal(0, 0.01, (12, 3)) for stream in noise]).astype(np.float32)
        places = torch.stack((self.position, self.goal), dim=1)[list(chosen)].repeat_interleave(6, dim=1)
        cloud = torch.from_numpy(noise).to(self.spec.device)
        cloud[..., 0] += 0.1 * places
        seen = {CLOUD: cloud, CLOUD_SEEN: torch.ones(len(cloud), 2, device=self.spec.device)}
        return {key: seen[key] for key in keys}

    def _observe(self) -> Observation:
        shown = super()._observe()
        palm = torch.zeros(self.spec.num_envs, 7, device=self.spec.device)
        palm[:, 3] = 1.0
        return Observation({**shown.actor, "palm_pose": palm}, shown.critic)


POINTNET = PolicyConfig(
    RepresentationConfig(
        keys=("state", "command", "palm_pose"),
        views=(CLOUD, CLOUD_SEEN),
        history=2,
        horizon=4,
        encoders={CLOUD: "pointnet", CLOUD_SEEN: "raw"},
        action="relative",
        action_scale="standard",
        per_step=True,
    ),
    NetworkConfig(widths=(16,), time_features=8),
    FlowConfig(width=0.3, steps=1),
)
PAPER = PolicyConfig(
    replace(
        POINTNET.representation,
        encoders={CLOUD: "pointnet_base", CLOUD_SEEN: "raw"},
        action="absolute",
        action_scale="min_max",
        per_step=False,
    ),
    NetworkConfig(kind="unet", widths=(8, 16), time_features=8),
    FlowConfig(width=None, steps=1),
)
TRAINING = PretrainConfig(
    policy=POINTNET,
    steps=6,
    batch_size=4,
    warmup_steps=2,
    draws=2,
    augmentation=AugmentConfig(jitter_m=0.002, shift_m=0.01, turn_rad=0.1, hidden=0.1),
    observation_noise={"state": 0.01},
    held_out_fraction=0.4,
    log_every=2,
    validate_every=3,
    checkpoint_every=3,
)
LEARNER = SteerConfig(execute_steps=2, decisions=4, ppo=PPOConfig(hidden=(8,), epochs=1))


@pytest.fixture(params=[elsewhere.DEVICE, CUDA])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a device other than the CPU."""
    with elsewhere.pretended() if request.param == elsewhere.DEVICE else nullcontext():
        yield request.param


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody pushes to the goal in five episodes, at half the speed that is possible."""
    root, world = tmp_path_factory.mktemp("recorded") / "dataset", DeviceWorld(num_envs=1, time_limit=30)
    seen = INTERFACE.observation | INTERFACE.views
    writer = DatasetWriter(
        root, 10, {**{f"observation.{key}": seen[key] for key in seen}, "action": TOY.action}, "toy"
    )
    for seed in range(5):
        observation, frames = world.reset([seed]), {name: [] for name in writer.features}
        for _ in range(12):
            action = 0.5 * world.goal.view(1, 1)
            for key, value in {**observation.actor, **world.look((CLOUD, CLOUD_SEEN))}.items():
                frames[f"observation.{key}"].append(value[0].numpy())
            frames["action"].append(action[0].numpy())
            observation = world.step(action).observation
        writer.add_episode({name: np.stack(values) for name, values in frames.items()}, "push")
    writer.finalize()
    return root


@pytest.fixture(scope="module")
def base(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base policy of these demonstrations, trained on the CPU."""
    out = tmp_path_factory.mktemp("base") / "base"
    return stages.pretrain(PretrainSettings(TRAINING), recorded, out).directory


def world_of(device: str) -> str:
    """URI of the world."""
    return f"test_devices:DeviceWorld?time_limit=8&device={device}"


def test_the_pretended_device_is_one() -> None:
    with elsewhere.pretended():
        there = torch.tensor([1.0, 2.0], device=elsewhere.DEVICE)
        assert there.device.type == elsewhere.DEVICE and there.tolist() == [1.0, 2.0]
        assert (2 * there + torch.tensor(1.0)).cpu().tolist() == [3.0, 5.0]
        for wrong in (lambda: there + torch.ones(2), lambda: torch.cat((there, torch.ones(2))), there.numpy):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()


@pytest.mark.slow
def test_a_world_keeps_its_contract(device: str) -> None:
    check_world(lambda: DeviceWorld(2, 2, device))
    check_world(lambda: MovedWorld(DeviceWorld(2, 2), device))


def test_a_world_on_the_cpu_is_opened_there(device: str) -> None:
    here, there = open_world(world_of("cpu"), 2), open_world(world_of("cpu"), 2, device=device)
    assert there.spec == replace(here.spec, device=device)
    assert open_world(world_of(device), 2, device=device).spec == there.spec
    here.reset([3, 4]), there.reset([3, 4])
    assert there.goal.tolist() == here.goal.tolist()
    action = torch.tensor([[0.5], [-0.25]])
    for _ in range(9):  # over the end of an episode
        one, other = here.step(action), there.step(action.to(device))
        assert other.reward.device.type == torch.device(device).type and other.done.tolist() == one.done.tolist()
        for mine, its in ((one.observation, other.observation), (one.final_observation, other.final_observation)):
            assert {key: value.tolist() for key, value in its.critic.items()} == {
                key: value.tolist() for key, value in mine.critic.items()
            }
    seen = there.look((CLOUD,), torch.tensor([1], device=device))[CLOUD]
    assert seen.device.type == torch.device(device).type
    assert seen.tolist() == here.look((CLOUD,), torch.tensor([1]))[CLOUD].tolist()


def test_an_unknown_device_is_refused_before_a_world_is_opened() -> None:
    with pytest.raises(ScoreError, match="unknown device 'cud'; did you mean"):
        open_world("test_devices:never", 2, device="cud")


def never(num_envs: int) -> World:
    """Must not be called."""
    raise AssertionError


@pytest.mark.slow
def test_a_policy_computes_there_beside_a_world_here(base: Path, tmp_path: Path, device: str) -> None:
    few = EvaluateConfig(episodes=2, num_envs=2, traced=1, spread=SpreadConfig(states=2, samples=2))
    records = {}
    for name, uri, where in (("moved", world_of("cpu"), device), ("there", world_of(device), "")):
        settings = SteerSettings(worlds=(uri,), control_steps=(16,), num_envs=2, learner=LEARNER, device=where)
        steered = stages.steer(settings, base, tmp_path / name)
        amount = EvaluateSettings(world=uri, evaluation=few, device=where)
        found = stages.evaluate(amount, base, tmp_path / f"{name}_seen", steering=steered.directory).records
        records[name] = [record["jerk_rms_mean"] for record in found]
    assert records["moved"] == pytest.approx(records["there"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [POINTNET, PAPER], ids=["pointnet", "paper"])
def test_training_there_leaves_a_policy_that_decides_alike_everywhere(
    recorded: Path, tmp_path: Path, device: str, policy: PolicyConfig
) -> None:
    config = replace(TRAINING, policy=policy, device=device)
    trained = train.pretrain(load_dataset(recorded), config, start_run(tmp_path / "there", "pretrain", config, {}))
    there = load_policy(tmp_path / "there", device)
    window, latent = _window(), torch.randn(8, 4, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        chunk = trained.decode(trained.encode(window), latent)
        moved = {key: value.to(device) for key, value in window.items()}
        other = there.decode(there.encode(moved), latent.to(device))
    assert next(there.parameters()).device.type == torch.device(device).type
    assert next(trained.parameters()).device.type == "cpu"
    assert (chunk - other.cpu()).abs().max() < 1e-4
    same = replace(config, device="cpu")
    plain = train.pretrain(load_dataset(recorded), same, start_run(tmp_path / "here", "pretrain", same, {}))
    assert (chunk - plain.decode(plain.encode(window), latent)).abs().max() < 1e-3


@pytest.mark.slow
def test_training_there_resumes(recorded: Path, tmp_path: Path, device: str) -> None:
    config = replace(TRAINING, device=device)
    run = start_run(tmp_path / "run", "pretrain", config, {})

    def stop(index: int, record: dict) -> None:
        if record["step"] == 4:
            raise KeyboardInterrupt

    run.add_listener(stop)
    with pytest.raises(KeyboardInterrupt):
        train.pretrain(load_dataset(recorded), config, run)
    run = start_run(tmp_path / "run", "pretrain", config, {})
    resumed = train.pretrain(load_dataset(recorded), config, run)
    straight = train.pretrain(
        load_dataset(recorded), config, start_run(tmp_path / "straight", "pretrain", config, {})
    )
    for one, other in zip(resumed.parameters(), straight.parameters()):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_is_evaluated_there(
    recorded: Path, base: Path, tmp_path: Path, device: str, method: str
) -> None:
    iterations = 3 if method in ("rialto", "best_of_n") else 1
    settings = SteerSettings(
        method=method,
        worlds=(world_of(device),),
        control_steps=(iterations * 2 * 8,),
        num_envs=2,
        learner=replace(LEARNER, reference_share=1.0 if method == "score" else 0.0),
        best_of_n=BestOfNConfig(n=2, base_iterations=1),
        rialto=RialtoConfig(clone_steps=2, distil_steps=2, batch=4),
    )
    reads = recorded if method == "bc_regularized" else None
    steered = stages.steer(settings, base, tmp_path / "steering", dataset=reads)
    support = SupportConfig(samples=9, level=0.1, probes=8, inversions=4)
    few = EvaluateConfig(episodes=2, num_envs=2, traced=1, support=method == "score", support_test=support)
    few = replace(few, spread=SpreadConfig(states=2, samples=2))
    judged = () if method == "score" else (method if method in ("best_of_n", "base_ticket") else "det",)
    amount = EvaluateSettings(world=world_of(device), evaluation=few, policies=judged)
    there = stages.evaluate(amount, base, tmp_path / "there", steering=steered.directory).records
    assert len(there) == (4 if method == "score" else 1) and there[-1]["method"] == method
    if method == "score":
        amount = replace(amount, world=world_of("cpu"))
        here = stages.evaluate(amount, base, tmp_path / "here", steering=steered.directory).records
        assert [record["jerk_rms_mean"] for record in there] == pytest.approx(
            [record["jerk_rms_mean"] for record in here], rel=1e-3
        )


@pytest.mark.slow
def test_steering_there_resumes(base: Path, tmp_path: Path, device: str) -> None:
    def steered(name: str, stop_at: int = -1) -> Trained:
        run = start_run(tmp_path / name, "steer", LEARNER, {})

        def stop(index: int, record: dict) -> None:
            if record["iteration"] == stop_at:
                raise KeyboardInterrupt

        run.add_listener(stop)
        return loop.steer(load_policy(base, device), [Stage(DeviceWorld(2, 8, device), 2 * 16)], LEARNER, run)

    with pytest.raises(KeyboardInterrupt):
        steered("stopped", 1)
    stopped, straight = steered("stopped").actor, steered("straight").actor
    for one, other in zip(stopped.parameters(), straight.parameters()):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_starts_are_there_too(recorded: Path, base: Path, tmp_path: Path, device: str) -> None:
    common = {"worlds": (world_of(device),), "control_steps": (16,), "num_envs": 2}
    ticket = stages.steer(SteerSettings(method="base_ticket", learner=LEARNER, **common), base, tmp_path / "ticket")
    short = replace(LEARNER, reference_share=0.0)
    settings = SteerSettings(learner=short, **common)
    begun = stages.steer(settings, base, tmp_path / "begun", dataset=recorded, start=ticket.directory)
    assert begun.summary["iterations"] == 1
    for reversal in ("nearest", "inverse"):
        start = StartConfig(demonstrations=0.5, reversal=reversal, samples=2, steps=2, batch=4)
        settings = SteerSettings(learner=replace(short, start=start), **common)
        cloned = stages.steer(settings, base, tmp_path / reversal, dataset=recorded)
        assert cloned.summary["start_examples"] > 0


@pytest.mark.parametrize("device", [CUDA], indirect=True)
def test_generators_come_back_as_they_were(device: str) -> None:
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    drawn = []
    for where in (device, device, "cpu"):
        with seeded("a stream", device=where):
            drawn.append((torch.rand(3, device=device) if where == device else torch.zeros(3)).tolist())
            torch.rand(3)
    assert drawn[0] == drawn[1]
    for state, now in zip(before, (torch.cuda.get_rng_state(), torch.get_rng_state())):
        assert torch.equal(state, now)


def _window() -> dict[str, Tensor]:
    """Eight windows of the world at its start."""
    world = DeviceWorld(num_envs=8)
    frame = {**world.reset(range(8)).actor, **world.look((CLOUD, CLOUD_SEEN))}
    return {
        key: value.unsqueeze(1).repeat_interleave(1 if key in INTERFACE.views else 2, dim=1)
        for key, value in frame.items()
    }
