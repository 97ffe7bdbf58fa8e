"""Bundles: complete, checked to the byte, and deciding exactly what their parts decide."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ToyRobot
from packed import KEYS, NAMES, WORLD, save_base, save_steered, windows
from run_records import write_run_record
from toys import ToyPolicy, ToyWorld, interface_of

from score_rl.cli import main as cli
from score_rl.core.errors import ScoreError
from score_rl.core.files import previous_folder, to_plain, write_json
from score_rl.core.records import read_json
from score_rl.deploy.bundle import bundle as module
from score_rl.deploy.bundle.bundle import create_bundle, load_bundle, read_manifest
from score_rl.deploy.bundle.export import check_exportable
from score_rl.deploy.bundle.manifest import MANIFEST, verify_manifest, write_manifest
from score_rl.deploy.bundle.spec import check_spec, franka_leap_limits, parse_spec, world_limits
from score_rl.deploy.runtime.runtime import Runtime
from score_rl.pipeline.inputs import content_hash
from score_rl.pipeline.limits import robot_limits
from score_rl.robots.franka_leap.robot import FRANKA_LEAP
from score_rl.steering.latent import LatentConfig
from score_rl.steering.methods.base_ticket import TicketConfig
from score_rl.steering.methods.bc_regularized import BCConfig
from score_rl.steering.methods.best_of_n import BestOfNConfig
from score_rl.steering.methods.fpo import FPOConfig
from score_rl.steering.methods.rialto import RialtoConfig
from score_rl.steering.methods.unconstrained import UnconstrainedConfig
from score_rl.steering.policy import compulsory_deciders

FILES = (
    "base/policy.json",
    "base/policy.safetensors",
    "bundle.json",
    "steering/steering.json",
    "steering/steering.safetensors",
)
LIMITS = world_limits(WORLD)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a `base` and its `steering`."""
    folder = tmp_path_factory.mktemp("parts")
    save_steered(folder / "steering", save_base(folder / "base"))
    return folder


@pytest.fixture(scope="module")
def packed(parts: Path) -> Path:
    """A bundle; not to be changed."""
    create_bundle(parts / "bundle", parts / "base", parts / "steering", LIMITS, "toy")
    return parts / "bundle"


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(packed, tmp_path / "bundle"))


# ---- what it decides ----------------------------------------------------------------------------------------------


def test_decides_what_its_parts_decide(parts: Path, packed: Path) -> None:
    policy = module.open_policy(parts / "base")
    deciders = compulsory_deciders(policy, module.load_trained(parts / "steering", policy))
    window, noise = windows(50), torch.randn(50, 4, 2, generator=torch.Generator().manual_seed(5))
    low, high = torch.tensor(WORLD.action_low), torch.tensor(WORLD.action_high)
    sampled = load_bundle(packed, deterministic=False)
    bundle = load_bundle(packed)
    for ours, name in ((bundle.decide, "score_det"), (sampled.decide, "score_stoch"), (bundle.base_decide, "base")):
        decision, expected = ours(window, noise), deciders[name].decide(window, noise)
        assert torch.equal(decision.latent, expected.latent)
        assert torch.equal(decision.chunk, expected.chunk.clamp(low, high))
    assert (deciders["base"].decide(window, noise).chunk.abs() > high).any()  # else the bounds were not tested
    assert torch.equal(bundle.decide(window, noise).latent, bundle.decide(window, -noise).latent)  # no chance left


def test_takes_arrays_as_well_as_tensors(packed: Path) -> None:
    bundle, window, noise = load_bundle(packed), windows(3), torch.randn(3, 4, 2)
    arrays = {key: value.numpy().astype(np.float64) for key, value in window.items()}
    for value in arrays.values():
        value.flags.writeable = False
    more = {**arrays, "camera": np.zeros((3, 2, 9))}
    assert torch.equal(bundle.decide(more, noise.numpy()).chunk, bundle.decide(window, noise).chunk)


@pytest.mark.parametrize(
    ("window", "noise", "message"),
    [
        ({"state": windows(2)["state"]}, torch.zeros(2, 4, 2), "lacks command"),
        (windows(2), torch.zeros(2, 4, 3), r"expected \(2, 4, 2\)"),
        (windows(2), torch.zeros(1, 4, 2), r"expected \(2, 4, 2\)"),
        (windows(2, history=3), torch.zeros(2, 4, 2), r"expected \(n, 2, 4\)"),
    ],
)
def test_wrong_inputs_are_named(packed: Path, window, noise, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        load_bundle(packed).decide(window, noise)


def test_a_base_policy_may_go_alone(parts: Path, tmp_path: Path) -> None:
    bundle = create_bundle(tmp_path / "bundle", parts / "base", None, LIMITS, "toy")
    assert (bundle.spec.method, bundle.spec.execute_steps) == ("base", 2)  # half a chunk of 4
    window, noise = windows(3), torch.randn(3, 4, 2)
    assert torch.equal(bundle.decide(window, noise).chunk, bundle.base_decide(window, noise).chunk)


def test_a_policy_that_lives_elsewhere_is_referred_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URI and fingerprint go along; a bundle whose policy was changed since cannot be loaded, or exported."""
    limits = world_limits(ToyWorld(1).spec)
    uri, robot = "toys:ToyPolicy?horizon=6", replace(limits.robot, joint_names=("push",))
    bundle = create_bundle(tmp_path / "bundle", uri, None, replace(limits, robot=robot), "toy")
    window, noise = {"state": torch.zeros(3, 2, 2), "command": torch.zeros(3, 2, 1)}, torch.randn(3, 6, 1)
    expected = module.open_policy(uri).decode(torch.zeros(3, 6), noise.clamp(-3, 3)).clamp(-1, 1)
    assert torch.equal(load_bundle(tmp_path / "bundle").decide(window, noise).chunk, expected)
    assert bundle.spec.provenance["base"] == {"uri": uri}
    with pytest.raises(ScoreError, match="is a ToyPolicy; only flow policies"):
        check_exportable(bundle)
    monkeypatch.setattr(ToyPolicy, "fingerprint", lambda self: "another", raising=False)
    with pytest.raises(ScoreError, match="it was changed"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("method", "options"),
    [("residual", {"scale": 0.01, "bound": 3.0}), ("score_residual", {"scale": 0.01, "bound": 3.0})],
)
def test_other_methods_go_too(parts: Path, tmp_path: Path, method: str, options: dict) -> None:
    policy = module.open_policy(parts / "base")
    save_steered(tmp_path / "steering", policy, method, LatentConfig("full"), options)
    bundle = create_bundle(tmp_path / "bundle", parts / "base", tmp_path / "steering", LIMITS, "toy")
    assert bundle.spec.method == method
    decision = bundle.decide(windows(3), torch.zeros(3, 4, 2))
    plain = policy.decode(policy.encode(windows(3)), decision.latent).clamp(bundle._low, bundle._high)
    assert 0 < (decision.chunk - plain).abs().max() <= 0.03 + 1e-6


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("unconstrained", asdict(UnconstrainedConfig())),
        ("bc_regularized", asdict(BCConfig())),
        ("best_of_n", asdict(BestOfNConfig(n=4))),
        ("base_ticket", asdict(TicketConfig())),
        ("fpo", asdict(FPOConfig())),
        ("rialto", asdict(RialtoConfig())),
    ],
)
def test_every_method_can_be_packed_shown_and_run(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, options: dict
) -> None:
    policy = module.open_policy(parts / "base")
    trained = save_steered(tmp_path / "steering", policy, method, LatentConfig(), options)
    create_bundle(tmp_path / "bundle", parts / "base", tmp_path / "steering", LIMITS, "toy")
    assert cli.main(["info", str(tmp_path / "bundle")]) == 0
    assert method in capsys.readouterr().out
    window, noise = windows(5), torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(5))
    bundle = load_bundle(tmp_path / "bundle")
    deciders = trained.deciders(policy)
    expected = deciders.get(f"{method}_det", deciders.get(method)).decide(window, noise)
    assert torch.equal(bundle.decide(window, noise).chunk, expected.chunk.clamp(bundle._low, bundle._high))
    robot = ToyRobot(length=6, disturb=lambda step, frame: {"state": np.ones(4), "command": frame["command"]})
    robot.spec = replace(robot.spec, interface=interface_of(KEYS, NAMES))
    runtime = Runtime(bundle, robot, robot.spec)
    (report,) = runtime.run((7,))
    runtime.close()
    assert (report.ended, len(robot.sent)) == ("success", 6)


# ---- what it says -------------------------------------------------------------------------------------------------


def test_says_what_a_robot_must_know(packed: Path, parts: Path) -> None:
    manifest, spec = read_manifest(packed)
    assert sorted(manifest.files) == sorted(FILES)
    assert (spec.method, spec.task, spec.policy.history, spec.policy.horizon, spec.execute_steps) == (
        "score",
        "toy",
        2,
        4,
        3,
    )
    interface = spec.interface
    assert (interface.action_names, interface.action.unit, interface.control_rate_hz) == (NAMES, "rad", 10.0)
    assert (spec.action_low, spec.action_high, spec.policy.latent_shape) == ((-1.5, -0.5), (1.5, 0.5), (4, 2))
    assert {key: array.size for key, array in interface.observation.items()} == KEYS
    assert interface.observation["command"].names == NAMES
    assert spec.provenance["base"]["dataset"]["sha256"] == "d" * 64
    assert spec.provenance["steering"]["control_steps"] == 1000
    assert spec.provenance["base_fingerprint"] == read_json(packed / "steering" / "steering.json")["spec"]["base"]


def test_equal_inputs_give_equal_bytes(parts: Path, packed: Path, tmp_path: Path) -> None:
    again = create_bundle(tmp_path / "again", parts / "base", parts / "steering", LIMITS, "toy")
    assert again.digest == read_manifest(packed)[0].digest
    other = create_bundle(tmp_path / "other", parts / "base", parts / "steering", LIMITS, "door")
    assert other.digest != again.digest


def test_the_runs_of_the_parts_are_recorded(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "base", tmp_path / "base")
    shutil.copytree(parts / "steering", tmp_path / "steer" / "steering")
    write_run_record(tmp_path / "base", "pretrain", {}, {"dataset": "e" * 64}, seeds={"training": 4}, commit="abc")
    write_run_record(tmp_path / "steer", "steer", {}, {}, seeds={"training": 5})
    bundle = create_bundle(tmp_path / "b", tmp_path / "base", tmp_path / "steer" / "steering", LIMITS, "toy")
    base, steering = (bundle.spec.provenance[part]["run"] for part in ("base", "steering"))
    assert (base["commit"], base["seeds"], base["inputs"]) == ("abc", {"training": 4}, {"dataset": "e" * 64})
    assert (steering["stage"], steering["seeds"]) == ("steer", {"training": 5})


def test_franka_leap_limits_are_those_of_the_robot() -> None:
    limits = franka_leap_limits()
    assert limits.action_velocity_limit[:7] == (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
    assert limits.action_velocity_limit[7] == pytest.approx(8.48, abs=0.01)  # 81 rev/min
    assert set(limits.action_acceleration_limit[:7]) == {10.0}
    assert limits.action_low == FRANKA_LEAP.target_lower and limits.robot.home == FRANKA_LEAP.home
    assert limits.robot.torque_limit_nm[6] == 12.0
    assert {key: array.size for key, array in limits.interface.observation.items()} == {
        "state": 23,
        "command": 23,
        "object_pose": 7,
        "palm_pose": 7,
        "fingertip_pos": 12,
    }
    assert all(len(array.names) == array.size for array in limits.interface.observation.values())


def test_limits_follow_the_task() -> None:
    assert robot_limits("pinch_cube", "proxy") == franka_leap_limits()
    with pytest.raises(ScoreError, match="did you mean 'pinch_cube'"):
        robot_limits("pinch_cub", "proxy")


# ---- what it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_every_byte_matters(copy: Path, name: str) -> None:
    original = (copy / name).read_bytes()
    for position in {0, 1, len(original) // 3, len(original) // 2, len(original) - 2, len(original) - 1}:
        changed = bytearray(original)
        changed[position] ^= 1
        (copy / name).write_bytes(changed)
        with pytest.raises(ScoreError, match=r"changed|JSON|lacks|unknown key|expected|describes a|version"):
            load_bundle(copy)
        with pytest.raises(ScoreError):
            read_manifest(copy)
    for other in (original[:-1], original + b" ", original + b"\n", b""):
        (copy / name).write_bytes(other)
        with pytest.raises(ScoreError):
            load_bundle(copy)
    (copy / name).write_bytes(original)
    load_bundle(copy)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_every_file_is_needed(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ScoreError, match=r"missing|no manifest"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["notes.txt", "base/other.json", ".hidden", "new/file"])
def test_nothing_may_be_added(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("x")
    with pytest.raises(ScoreError, match=f"holds {name}"):
        load_bundle(copy)


def test_links_are_refused(copy: Path, tmp_path: Path) -> None:
    weights = copy / "base" / "policy.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScoreError, match="links are not followed"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "score_rl.other"}, "describes a 'score_rl.other'"),
        ({"version": 3}, "version 3; this program reads 2"),
        ({"note": "x"}, "unknown key 'note'"),
        ({"files": {}}, "does not agree"),
        ({"sha256": "0" * 64}, "does not agree"),
        ({"files": {"../base": {"sha256": "0", "size": 1}}}, "does not agree"),
    ],
)
def test_a_manifest_is_read_strictly(copy: Path, change: dict, message: str) -> None:
    values = read_json(copy / MANIFEST) | change
    (copy / MANIFEST).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    with pytest.raises(ScoreError, match=message):
        load_bundle(copy)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="no such folder"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(ScoreError, match="has no manifest"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"note": 1}, "unknown key 'note'"),
        ({"task": ...}, "bundle.json lacks task"),
        ({"version": 3}, "version 3"),
        ({"execute_steps": 5}, "execute_steps <= horizon"),
        ({"policy.interface.control_rate_hz": 0.0}, "control_rate_hz"),
        ({"action_low": [0.0]}, "action_low has 1 entries"),
        ({"action_low": [2.0, 0.0]}, "bounds of action 'left'"),
        ({"action_low": ["a", "b"]}, r"action_low\[0\] is 'a', expected a finite number"),
        ({"action_velocity_limit": [1.0, -1.0]}, "must be positive"),
        ({"policy.history": 3}, "says history 3, but its policy has 2"),
        ({"policy.interface.action.unit": "deg"}, "says action unit deg"),
        ({"policy.interface.observation": {"state": {"shape": [4]}}}, "observation.state lacks"),
        ({"policy.interface.observation.state.shape": [3]}, "says observation"),
        ({"robot": 3}, "robot is 3, expected a record"),
        ({"policy.interface.observation": 3}, "observation is 3, expected a mapping"),
        ({"policy.history": "2"}, "history is '2', expected a whole number"),
        ({"evaluation": None, "execute_steps": "2"}, "execute_steps is '2', expected a whole number"),
    ],
)
def test_a_specification_is_read_strictly(copy: Path, change: dict, message: str) -> None:
    """Even with a manifest that was written anew."""
    values = read_json(copy / "bundle.json")
    for path, value in change.items():
        *parents, name = path.split(".")
        place = reduce(lambda inner, parent: inner[parent], parents, values)
        place[name] = value
    values = {name: value for name, value in values.items() if value is not ...}
    write_json(copy / "bundle.json", values)
    write_manifest(copy, module.KIND, module.VERSION)
    with pytest.raises(ScoreError, match=message):
        load_bundle(copy)


def test_specification_survives_json(packed: Path) -> None:
    spec = replace(read_manifest(packed)[1], action_velocity_limit=(1.0, 2.0), action_acceleration_limit=(3.0, 4.0))
    assert parse_spec(json.loads(json.dumps(to_plain(spec))), "here") == spec
    check_spec(spec)
    assert asdict(spec)["robot"]["home"] is None


def test_parts_that_do_not_belong_together(parts: Path, tmp_path: Path) -> None:
    save_base(tmp_path / "other", seed=7)
    out = tmp_path / "bundle"
    with pytest.raises(ScoreError, match="means nothing to another base policy"):
        create_bundle(out, tmp_path / "other", parts / "steering", LIMITS, "toy")
    with pytest.raises(ScoreError, match="takes"):
        names = world_limits(replace(WORLD, interface=interface_of(KEYS, ("right", "left"))))
        create_bundle(out, parts / "base", parts / "steering", names, "toy")
    for keys in ({"command": 2}, KEYS | {"state": 5}):
        other = world_limits(replace(WORLD, interface=interface_of(keys, NAMES)))
        with pytest.raises(ScoreError, match=r"reads 'state' \(4,\) float32, but toy shows"):
            create_bundle(out, parts / "base", None, other, "toy")
    with pytest.raises(ScoreError, match="execute_steps <= horizon"):
        create_bundle(out, parts / "base", None, LIMITS, "toy", execute_steps=9)
    assert not list(tmp_path.glob("*bundle*"))  # all before anything was written


# ---- how it is written --------------------------------------------------------------------------------------------


def test_appears_complete_or_not_at_all(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, arguments = tmp_path / "bundle", (parts / "base", parts / "steering", LIMITS)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create_bundle(out, *arguments, "toy")
        assert not out.exists()
    (tmp_path / ".bundle.partial" / "left_over").write_text("x")
    first = create_bundle(out, *arguments, "toy")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create_bundle(out, *arguments, "door", overwrite=True)
    assert load_bundle(out).digest == first.digest
    assert create_bundle(out, *arguments, "door", overwrite=True).spec.task == "door"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_kill_between_the_renames_costs_no_bundle(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, arguments = tmp_path / "bundle", (parts / "base", parts / "steering", LIMITS)
    first = create_bundle(out, *arguments, "toy")

    def killed(new: Path, path: Path) -> None:
        path.rename(previous_folder(path))
        raise KeyboardInterrupt  # nothing is tidied up behind it

    with monkeypatch.context() as patch:
        patch.setattr(module, "replace_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            create_bundle(out, *arguments, "door", overwrite=True)
    assert not out.exists()
    for read in (load_bundle, read_manifest):
        with pytest.raises(ScoreError, match=r"complete in .*\.bundle\.previous: rename it"):
            read(out)
    with pytest.raises(ScoreError, match="pass --overwrite"):  # back in its place, and not to be lost by mistake
        create_bundle(out, *arguments, "door")
    assert load_bundle(out).digest == first.digest
    assert create_bundle(out, *arguments, "door", overwrite=True).spec.task == "door"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_nothing_is_replaced_by_mistake(parts: Path, tmp_path: Path) -> None:
    create_bundle(tmp_path / "bundle", parts / "base", None, LIMITS, "toy")
    with pytest.raises(ScoreError, match="pass --overwrite"):
        create_bundle(tmp_path / "bundle", parts / "base", None, LIMITS, "toy")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    with pytest.raises(ScoreError, match=r"holds chapter\.txt, which no `score bundle` wrote"):
        create_bundle(tmp_path / "thesis", parts / "base", None, LIMITS, "toy", overwrite=True)


def test_a_manifest_of_a_folder_of_anything(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    manifest = write_manifest(tmp_path, "things", 3)
    assert manifest.files["a"]["size"] == 3
    assert manifest.files["a"]["sha256"].startswith("ba7816bf")  # FIPS 180's example
    assert verify_manifest(tmp_path, "things", 3) == manifest


# ---- on the command line ------------------------------------------------------------------------------------------


def evaluation(folder: Path, parts: Path, **changes) -> Path:
    """An evaluation's run directory of one record."""
    record = {
        "schema_version": 1,
        "task": "pinch_cube",
        "method": "score",
        "policy": "score_det",
        "world": "proxy",
        "robot_seed": 101,
        "training_seed": 0,
        "n": 10,
        "successes_end": 9,
        "successes_ever": 9,
        "success_rate": 0.9,
        "wilson95": [0.596, 0.982],
        "steps_to_success_mean": 40.0,
        "peak_force_p95_n": 20.0,
        "hand_faults": 1,
        "control_steps_trained": 1000,
        "train_wall_s": 1.0,
        "commit": "abc",
        "command": "score",
        "machine": "any",
    }
    settings = {"task": "pinch_cube", "execute_steps": 3}
    inputs = {"policy": content_hash(parts / "base"), "steering": content_hash(parts / "steering")}
    config = {"settings": settings, "inputs": inputs}
    for name, value in changes.items():
        config[name] = {**config[name], **value}
    write_run_record(folder, "evaluate", config["settings"], config["inputs"])
    write_json(folder / "result.json", [record])
    return folder


def test_bundle_and_info(parts: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("score_rl.pipeline.deployment.robot_limits", lambda task, world, views: LIMITS)
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["--policy", str(parts / "base"), "--steering", str(parts / "steering")]
    out, seen = tmp_path / "bundle", evaluation(tmp_path / "evaluation", parts)
    assert cli.main(["bundle", *arguments, "--evaluation", str(seen), "--out", str(out)]) == 0
    assert load_bundle(out).spec.evaluation[0]["success_rate"] == 0.9
    capsys.readouterr()
    assert cli.main(["info", str(out)]) == 0
    text = capsys.readouterr().out
    digest = read_manifest(out)[0].digest
    for word in (digest, "pinch_cube", "10 Hz", "left", "-1.5", "90 %", "proxy, n = 10", "d" * 64, *FILES):
        assert word in text, word
    (out / "bundle.json").write_bytes((out / "bundle.json").read_bytes().replace(b"10.0", b"99.0"))
    assert cli.main(["info", str(out)]) == 2
    assert "was changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"policy": "0" * 64}}, "evaluated another policy"),
        ({"inputs": {"steering": "0" * 64}}, "evaluated another steering"),
        ({"settings": {"task": "door"}}, "evaluated the task door"),
        ({"settings": {"execute_steps": 4}}, "ran 4 steps of every chunk, the bundle is to run 3"),
    ],
)
def test_evaluations_of_something_else_are_refused(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict, message: str
) -> None:
    seen = evaluation(tmp_path / "evaluation", parts, **changes)
    arguments = ["--policy", str(parts / "base"), "--steering", str(parts / "steering"), "--evaluation", str(seen)]
    assert cli.main(["bundle", *arguments, "--out", str(tmp_path / "bundle")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "bundle").exists()


def test_a_policy_that_reads_what_no_robot_shows_is_refused(parts: Path, tmp_path: Path) -> None:
    policy, options = module.open_policy(parts / "base"), asdict(UnconstrainedConfig(observes="privileged"))
    save_steered(tmp_path / "steering", policy, "unconstrained", LatentConfig(), options, privileged={"truth": 3})
    with pytest.raises(ScoreError, match="reads truth, which no robot can show"):
        create_bundle(tmp_path / "bundle", parts / "base", tmp_path / "steering", LIMITS, "toy")
    assert not (tmp_path / "bundle").exists()
