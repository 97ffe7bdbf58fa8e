"""Exported graphs: the same chunks as torch, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import score_client
import torch
from packed import NAMES, WORLD, save_base, save_steered, windows
from score_client import OnnxPolicy as ClientsPolicy
from score_client import PolicyRefused

from score_rl.cli import main as cli
from score_rl.contracts import ArraySpec
from score_rl.core.chunks import advance_window, start_window
from score_rl.core.errors import ScoreError
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.bundle.bundle import Bundle, create_bundle, load_bundle
from score_rl.deploy.bundle.export import TOLERANCE, check_exportable, export_onnx, largest_difference
from score_rl.deploy.bundle.onnx_runtime import SPEC_KEY, OnnxPolicy
from score_rl.deploy.bundle.spec import franka_leap_limits, world_limits
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.sim.world import make_world
from score_rl.steering.latent import LatentConfig
from score_rl.steering.methods.fpo import FPOConfig
from score_rl.steering.policy import decision_noise

pytestmark = pytest.mark.slow

ENVS, STEPS = 25, 40


@dataclass(frozen=True)
class Exported:
    """A bundle and its export."""

    bundle: Bundle
    path: Path
    window: dict[str, np.ndarray]
    """1,000 windows of the twin."""
    noise: np.ndarray


def twin_windows() -> dict[str, torch.Tensor]:
    """What the twin's robot saw in 1,000 moments of random motion."""
    world = make_world("pinch_cube", "twin", ENVS, threads=1)
    generator = torch.Generator().manual_seed(0)
    observation = world.reset(range(ENVS))
    window = start_window(observation.actor, world.spec.interface.observation, 2)
    seen = []
    for _ in range(STEPS):
        drift = 0.2 * torch.randn(ENVS, world.spec.interface.action_dim, generator=generator)
        observation = world.step(observation.actor["command"] + drift).observation
        window = advance_window(window, observation.actor)
        seen.append(window)
    return {key: torch.cat([step[key] for step in seen]) for key in window}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The robot's kind of policy: features in the palm's frame, relative actions, one steered mode, two steps."""
    folder, seen = tmp_path_factory.mktemp("exported"), twin_windows()
    kind = {"observation": "palm", "action": "relative", "action_scale": "standard", "per_step": True}
    policy = save_base(folder / "base", seen, FRANKA_LEAP.joint_names, steps=2, **kind)
    save_steered(folder / "steering", policy)
    bundle = create_bundle(
        folder / "bundle", folder / "base", folder / "steering", franka_leap_limits(), "pinch_cube"
    )
    noise = np.random.default_rng(0).standard_normal(
        (ENVS * STEPS, *bundle.spec.policy.latent_shape), dtype=np.float32
    )
    window = {key: seen[key].numpy() for key in bundle.spec.policy.window}
    return Exported(bundle, export_onnx(bundle, folder / "policy.onnx"), window, noise)


def test_same_as_torch_on_a_thousand_observations(exported: Exported) -> None:
    policy = OnnxPolicy(exported.path)
    assert len(exported.noise) == 1000
    assert largest_difference(exported.bundle, policy, exported.window, exported.noise) <= TOLERANCE == 1e-5
    chunks = exported.bundle.decide(exported.window, exported.noise).chunk
    assert chunks.std(dim=0).min() > 1e-2  # the policy answers to what it sees


def test_numbers_that_are_not_finite_are_a_difference(exported: Exported) -> None:
    class Broken(OnnxPolicy):
        def decide(self, window, noise):
            decision = super().decide(window, noise)
            decision.chunk[0, 0, 0] = np.nan if (noise == exported.noise[1]).all() else 0.0
            return decision

    window = {key: value[:3] for key, value in exported.window.items()}
    difference = largest_difference(exported.bundle, Broken(exported.path), window, exported.noise[:3])
    assert not difference <= 1e9


def test_any_number_of_rows(exported: Exported) -> None:
    policy, expected = OnnxPolicy(exported.path), exported.bundle.decide(exported.window, exported.noise)
    decision = policy.decide(exported.window, exported.noise)
    np.testing.assert_allclose(decision.chunk, expected.chunk, atol=1e-5)
    np.testing.assert_allclose(decision.latent, expected.latent, atol=1e-5)
    assert (
        policy.decide({key: value[:0] for key, value in exported.window.items()}, exported.noise[:0]).chunk.size == 0
    )


def test_chunks_stay_within_the_bounds(exported: Exported) -> None:
    wild = {key: 5.0 * value for key, value in exported.window.items()}
    chunk = OnnxPolicy(exported.path).decide(wild, exported.noise).chunk
    low, high = (np.float32(bound) for bound in (FRANKA_LEAP.target_lower, FRANKA_LEAP.target_upper))
    assert (chunk >= low).all() and (chunk <= high).all()
    assert (chunk == low).any() and (chunk == high).any()


def test_carries_its_specification(exported: Exported) -> None:
    policy = OnnxPolicy(exported.path)
    assert policy.digest == exported.bundle.digest
    assert policy.latent_shape == exported.bundle.spec.policy.latent_shape
    assert policy.spec["policy"]["interface"]["action"]["names"] == list(FRANKA_LEAP.joint_names)
    assert policy.spec["policy"]["interface"]["control_rate_hz"] == 10.0 and policy.spec["execute_steps"] == 3
    assert str(Path(__file__).parents[2]).encode() not in exported.path.read_bytes()  # no paths of this machine
    parameters = sum(
        p.numel() for p in [*exported.bundle.base.parameters(), *exported.bundle.steering.actor.parameters()]
    )
    assert exported.path.stat().st_size < 4 * parameters + 250_000  # one copy of the weights for all steps


def test_runs_without_torch(exported: Exported, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", noise=exported.noise[:3], **{k: v[:3] for k, v in exported.window.items()})
    program = (
        "import sys, numpy as np\n"
        "from score_rl.deploy.bundle.onnx_runtime import OnnxPolicy\n"
        "inputs = dict(np.load(sys.argv[2]))\n"
        "policy = OnnxPolicy(sys.argv[1])\n"
        "noise = inputs.pop('noise')\n"
        "np.save(sys.argv[3], policy.decide(inputs, noise).chunk)\n"
        "assert not {'torch', 'mujoco', 'rsl_rl'} & set(sys.modules), 'imported'\n"
    )
    arguments = [str(exported.path), str(tmp_path / "inputs.npz"), str(tmp_path / "chunk.npy")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env=dict(os.environ))
    expected = exported.bundle.decide({k: v[:3] for k, v in exported.window.items()}, exported.noise[:3]).chunk
    np.testing.assert_allclose(np.load(tmp_path / "chunk.npy"), expected, atol=1e-5)


def test_the_robots_client_runs_it_with_numpy_and_onnxruntime_alone(exported: Exported, tmp_path: Path) -> None:
    """`score_client.OnnxPolicy` behind a broker, where nothing else can be imported: the server's decisions."""
    keys = tuple(exported.bundle.spec.policy.window)
    np.savez(tmp_path / "frames.npz", **{key: exported.window[key][:5, -1] for key in keys})
    program = (
        "import sys, numpy as np\n"
        "for name in ('torch', 'score_rl', 'websockets', 'msgpack', 'mujoco'): sys.modules[name] = None\n"
        "from score_client import ChunkBroker, OnnxPolicy\n"
        "frames = dict(np.load(sys.argv[2]))\n"
        "broker = ChunkBroker(OnnxPolicy(sys.argv[1]))\n"
        "broker.reset(seed=7)\n"
        "act = lambda step: broker.act({key: values[step] for key, values in frames.items()})\n"
        "np.save(sys.argv[3], [act(step) for step in range(5)])\n"
        "assert broker.last.actions.shape == (broker.client.metadata.horizon, 23)\n"
    )
    arguments = [str(exported.path), str(tmp_path / "frames.npz"), str(tmp_path / "actions.npy")]
    client = str(Path(__file__).parents[2] / "client" / "src")
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, env=os.environ | {"PYTHONPATH": client})
    frames = {key: exported.window[key][:5, -1] for key in keys}
    window = {key: values[[[0, 0], [2, 3]]] for key, values in frames.items()}  # 3 of every chunk run
    noise = np.stack(
        [decision_noise([7], number, exported.bundle.spec.policy.latent_shape)[0] for number in range(2)]
    )
    chunk = exported.bundle.decide(window, noise).chunk.numpy()
    expected = np.concatenate([chunk[0, :3], chunk[1, :2]])
    np.testing.assert_allclose(np.load(tmp_path / "actions.npy"), expected, atol=1e-5)


def test_noise_is_the_servers_where_it_decides(tmp_path: Path) -> None:
    policy = save_base(tmp_path / "base", action="absolute")
    bundle = create_bundle(tmp_path / "bundle", tmp_path / "base", None, world_limits(WORLD), "toy")
    robot = score_client.OnnxPolicy(export_onnx(bundle, tmp_path / "policy.onnx"))
    window = {key: value.numpy() for key, value in windows(1).items()}
    for seed in (3, 4):
        robot.reset(seed)
        robot.observe({key: values[0, -1] for key, values in window.items()})
        robot.decide()
        answer = robot.decide()
        noise = decision_noise([seed], 1, policy.spec.latent_shape).numpy()
        padded = {key: np.repeat(values[:, -1:], policy.spec.history, axis=1) for key, values in window.items()}
        np.testing.assert_allclose(answer.actions, bundle.decide(padded, noise).chunk[0], atol=1e-5)
    with pytest.raises(score_client.PolicyRefused, match="does not exist"):
        score_client.OnnxPolicy(tmp_path / "nothing.onnx")


@pytest.mark.parametrize(
    ("network", "representation", "latent"),
    [
        ("mlp", {"action": "absolute"}, LatentConfig("full")),
        ("unet", {"action": "modes", "per_step": True}, LatentConfig("leading", 2, complement="noise")),
    ],
)
def test_networks_representations_and_latents(tmp_path: Path, network: str, representation, latent) -> None:
    widths = {"mlp": (16,), "unet": (16, 32)}[network]
    policy = save_base(tmp_path / "base", network=NetworkConfig(network, widths), **representation)
    save_steered(tmp_path / "steering", policy, latent=latent)
    parts = (tmp_path / "base", tmp_path / "steering")
    bundle = create_bundle(tmp_path / "bundle", *parts, world_limits(WORLD), "toy")
    exported = OnnxPolicy(export_onnx(bundle, tmp_path / "policy.onnx"))
    window = {key: value.numpy() for key, value in windows(100).items()}
    noise = np.random.default_rng(0).standard_normal((100, 4, 2), dtype=np.float32)
    assert largest_difference(bundle, exported, window, noise) <= TOLERANCE
    moved = np.abs(exported.decide(window, noise).chunk - exported.decide(window, -noise).chunk).max()
    assert (moved > 0.01) == (latent.complement == "noise")  # where noise decides, it is an input


@pytest.mark.parametrize(
    ("method", "latent", "options"),
    [
        ("base_ticket", LatentConfig("full"), {"candidates": 4}),
        ("score", LatentConfig("subspace", 1), {"complement": [[0.5, -1.0], [0.0, 2.0], [1.0, 1.0], [-0.5, 0.0]]}),
        ("fpo", LatentConfig("full"), asdict(FPOConfig())),
    ],
)
def test_tickets_and_flows_of_their_own(tmp_path: Path, method: str, latent: LatentConfig, options: dict) -> None:
    """A constant latent, a steering that keeps a ticket's other modes, and a fine-tuned copy of the base policy."""
    policy = save_base(tmp_path / "base", action="absolute")
    save_steered(tmp_path / "steering", policy, method, latent, options)
    bundle = create_bundle(tmp_path / "bundle", tmp_path / "base", tmp_path / "steering", world_limits(WORLD), "toy")
    exported = OnnxPolicy(export_onnx(bundle, tmp_path / "policy.onnx"))
    window = {key: value.numpy() for key, value in windows(20).items()}
    noise = np.random.default_rng(0).standard_normal((20, 4, 2), dtype=np.float32)
    assert largest_difference(bundle, exported, window, noise) <= TOLERANCE
    again = exported.decide(window, -noise).chunk
    np.testing.assert_array_equal(exported.decide(window, noise).chunk, again)  # nothing is left to chance
    base = bundle.base_decide(window, np.zeros_like(noise)).chunk.numpy()
    assert np.abs(again - base).max() > 1e-3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle (delta actions) and a dataset of its observations."""
    folder = tmp_path_factory.mktemp("small")
    save_steered(folder / "steering", save_base(folder / "base", action="delta"))
    create_bundle(folder / "bundle", folder / "base", folder / "steering", world_limits(WORLD), "toy")
    features = {
        "observation.state": ArraySpec((4,)),
        "observation.command": ArraySpec((2,), names=NAMES),
        "action": ArraySpec((2,), names=NAMES),
    }
    draw = np.random.default_rng(0)
    writer = DatasetWriter(folder / "dataset", 10, features, "toy")
    writer.add_episode({name: draw.standard_normal((30, f.size), np.float32) for name, f in features.items()}, "toy")
    writer.finalize()
    return folder


def test_command_line(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, out = str(small / "bundle"), tmp_path / "policy.onnx"
    assert cli.main(["export", bundle]) == 2
    assert "--onnx" in capsys.readouterr().err
    arguments = ["export", bundle, "--onnx", "--fallback", "--dataset", str(small / "dataset"), "--out", str(out)]
    assert cli.main(arguments) == 0
    assert "30 real observations" in " ".join(capsys.readouterr().err.split())
    window, noise = {k: v.numpy() for k, v in windows(5).items()}, np.ones((5, 4, 2), np.float32)
    expected = load_bundle(bundle).base_decide(window, noise).chunk
    np.testing.assert_allclose(OnnxPolicy(out).decide(window, noise).chunk, expected, atol=1e-5)


def test_what_cannot_be_a_graph_is_an_error(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("data-dependent")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ScoreError, match="method 'score' cannot be one ONNX graph: data-dependent"):
        export_onnx(load_bundle(small / "bundle"), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_a_method_that_searches_is_refused_before_any_work(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_steered(tmp_path / "steering", load_bundle(small / "bundle").base, "best_of_n", None, {"n": 4})
    create_bundle(tmp_path / "bundle", small / "base", tmp_path / "steering", world_limits(WORLD), "toy")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("work was begun"))
    arguments = ["export", str(tmp_path / "bundle"), "--onnx", "--dataset", str(tmp_path / "nowhere")]
    assert cli.main(arguments) == 2
    assert "'best_of_n' draw further noise for every decision" in " ".join(capsys.readouterr().err.split())
    check_exportable(load_bundle(tmp_path / "bundle"), fallback=True)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": None}, "lacks state"),
        ({"state": np.zeros((1, 2, 5))}, r"state has shape \(1, 2, 5\), expected \(1, 2, 23\)"),
        ({"command": np.zeros((2, 2, 23))}, r"command has shape \(2, 2, 23\), expected \(1, 2, 23\)"),
    ],
)
def test_wrong_inputs_are_named(exported: Exported, change: dict, message: str) -> None:
    window = {key: value[:1] for key, value in exported.window.items()} | change
    with pytest.raises(ScoreError, match=message):
        OnnxPolicy(exported.path).decide({k: v for k, v in window.items() if v is not None}, exported.noise[:1])


def test_other_files_are_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="does not exist"):
        OnnxPolicy(tmp_path / "nothing.onnx")
    (tmp_path / "torn.onnx").write_bytes(exported.path.read_bytes()[:1000])
    with pytest.raises(ScoreError, match="corrupt or no ONNX file"):
        OnnxPolicy(tmp_path / "torn.onnx")
    import onnx

    told = onnx.load(exported.path)
    (spec,) = (entry for entry in told.metadata_props if entry.key == SPEC_KEY)
    whole = json.loads(spec.value)
    window = {**whole["policy"]["interface"]["observation"], "more": {"shape": [1], "dtype": "float32"}}
    del window["state"]
    other = {**whole["policy"], "interface": {**whole["policy"]["interface"], "observation": window}}
    another = json.dumps({"policy": other})
    for text in ("", "{}", "null", "[]", "[" * 100_000, '{"policy": {"latent_shape": 3}}', another):
        spec.value = text
        onnx.save(told, tmp_path / "lies.onnx")
        with pytest.raises(ScoreError, match=r"the specification in .*lies\.onnx"):
            OnnxPolicy(tmp_path / "lies.onnx")
        if text != another:
            with pytest.raises(PolicyRefused, match=r"lies\.onnx does not describe its policy"):
                ClientsPolicy(tmp_path / "lies.onnx")
    plain = onnx.load(exported.path)
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    with pytest.raises(ScoreError, match="no policy that `score export`"):
        OnnxPolicy(tmp_path / "plain.onnx")
