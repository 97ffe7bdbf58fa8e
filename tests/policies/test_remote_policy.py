"""A base policy in another process: opened, evaluated, steered, bundled, and measured for support."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from score_client.policy_server import MAX_CONTEXTS
from toys import ToyPolicy

from score_rl.core.errors import ScoreError
from score_rl.core.records import read_json
from score_rl.core.testing import check_policy
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.evaluation.run import EvaluateConfig
from score_rl.evaluation.support.meter import SupportConfig
from score_rl.pipeline import deployment, stages
from score_rl.policies.open import open_policy, save_reference
from score_rl.steering.loop import SteerConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.tasks.settings import EvaluateSettings, SteerSettings

HERE = Path(__file__).parent
WORLD = "toys:ToyWorld"
pytestmark = pytest.mark.slow


@contextmanager
def served(factory: str = "make", port: int = 0, *options: str) -> Iterator[str]:
    """The URI of a policy of `served_toy` in a process of its own."""
    command = [sys.executable, "-m", "score_client.policy_server", f"served_toy:{factory}", "--port", str(port)]
    process = subprocess.Popen([*command, *options], cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert "serving" in line
        yield line.split(" on ")[1].strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with served() as found:
        yield found


def window(n: int, value: float = 0.0) -> dict[str, torch.Tensor]:
    return {"state": torch.full((n, 2, 2), value), "command": torch.zeros(n, 2, 1)}


def test_it_conforms(uri: str) -> None:
    policy = open_policy(uri)
    check_policy(policy)
    assert (policy.spec.chunk_shape, policy.spec.latent_shape, policy.spec.history) == ((4, 1), (6, 3), 2)
    assert replace(policy.spec, latent_shape=(4, 1)) == ToyPolicy().spec


def test_it_decides_as_the_policy_does_here(uri: str) -> None:
    policy, toy = open_policy(uri), ToyPolicy()
    z = torch.randn(300, 6, 3, generator=torch.Generator().manual_seed(1))
    context = policy.encode(window(300))
    assert context.features.shape == (300, 6)
    assert torch.allclose(policy.decode(context, z), toy.decode(None, z[:, :4, :1]), atol=1e-6)
    rows = torch.tensor([299, 0, 0])
    assert torch.equal(policy.decode(context.rows(rows), z[rows]), policy.decode(context, z)[rows])


def test_a_context_outlives_the_servers_memory_and_the_connection(uri: str) -> None:
    policy, z = open_policy(uri), torch.ones(2, 6, 3)
    first = policy.encode(window(2))
    for _ in range(MAX_CONTEXTS + 1):
        policy.encode(window(1))
    assert policy.decode(first, z).shape == (2, 4, 1)
    policy.close()
    assert policy.decode(first, z).shape == (2, 4, 1)


def test_openpis_interface() -> None:
    with served("openpi") as uri:
        policy = open_policy(uri)
        assert policy.spec.history == 1
        context = policy.encode({"state": torch.zeros(3, 1, 2), "command": torch.zeros(3, 1, 1)})
        z = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(policy.decode(context, z), ToyPolicy().decode(None, z[:, :4, :1]), atol=1e-6)


def test_a_shared_key_keeps_strangers_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORE_API_KEY", "0123456789abcdef")
    with served() as uri:
        assert open_policy(uri).spec.horizon == 4
        for other in ("another-key-of-16", None):
            monkeypatch.delenv("SCORE_API_KEY") if other is None else monkeypatch.setenv("SCORE_API_KEY", other)
            with pytest.raises(ScoreError, match="wants its key in SCORE_API_KEY"):
                open_policy(uri)


def test_fingerprints_see_the_weights(uri: str) -> None:
    with served("make", 0, "--option", "weights=2.0") as other:
        assert open_policy(uri).fingerprint() == open_policy(uri).fingerprint() != open_policy(other).fingerprint()


def test_errors_are_said_and_the_next_question_is_answered() -> None:
    with served("stubborn") as uri:
        policy = open_policy(f"{uri}?connect_s=0.5")
        with pytest.raises(ScoreError, match="failed: ValueError: the state is out of its range"):
            policy.encode(window(2, 101.0))
        assert policy.encode(window(2)).features.shape == (2, 6)
        with pytest.raises(ScoreError, match="window of 'state' has shape"):
            policy.encode({"state": torch.zeros(2, 1, 2), "command": torch.zeros(2, 2, 1)})
        with pytest.raises(ScoreError, match=r"latents have shape \(2, 4, 1\), expected \(2, 6, 3\)"):
            policy.decode(policy.encode(window(2)), torch.zeros(2, 4, 1))
        with pytest.raises(ScoreError, match=r"no policy at|does not answer"):
            policy.encode(window(2, 1001.0))


def test_another_policy_at_the_same_address_is_noticed() -> None:
    with served() as uri:
        policy = open_policy(uri)
    with served("make", int(uri.rpartition(":")[2]), "--option", "weights=2.0"):
        with pytest.raises(ScoreError, match="is another one than it was"):
            policy.encode(window(1))
        policy.close()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("openpi://nowhere", "a remote policy is openpi://host:port"),
        ("openpi://127.0.0.1:1?connect_s=0.1", "no policy at 127.0.0.1:1"),
        ("openpi://127.0.0.1:1?timeout=3", "did you mean 'timeout_s'?"),
        ("openpi://127.0.0.1:1?timeout_s=-3", "timeout_s of a remote policy is -3"),
    ],
)
def test_what_is_no_address_is_said(uri: str, message: str) -> None:
    with pytest.raises(ScoreError) as error:
        open_policy(uri)
    assert message in str(error.value)


def test_it_is_evaluated_steered_bundled_and_measured(uri: str, tmp_path: Path) -> None:
    learner = SteerConfig(
        execute_steps=4, decisions=8, ppo=PPOConfig(learning_rate=5e-3, epochs=8, hidden=(32,), minibatches=2)
    )
    settings = SteerSettings(
        task="generic", worlds=(WORLD,), control_steps=(32 * 32 * 12,), num_envs=32, learner=learner
    )
    steered = stages.steer(settings, uri, tmp_path / "steering")
    amount = EvaluateConfig(
        episodes=40, num_envs=40, support=True, support_test=SupportConfig(samples=99, probes=16, inversions=0)
    )
    found = stages.evaluate(
        EvaluateSettings(task="generic", world=WORLD, evaluation=amount), uri, tmp_path / "evaluation",
        steering=steered.directory,
    )  # fmt: skip
    records = {record["policy"]: record for record in found.records}
    assert {(r["task"], r["world"], r["row_seeds"]) for r in found.records} == {("toy", WORLD, True)}
    assert found.success_rate("score_det") >= found.success_rate("base") + 0.3
    assert records["base"]["support_violation_rate"] < 0.05

    folders = {"steering": steered.directory, "evaluations": [found.directory]}
    bundle = deployment.bundle(uri, tmp_path / "bundle", task="generic", world=WORLD, **folders)
    assert read_json(tmp_path / "bundle" / "base" / "reference.json")["uri"] == uri
    one, noise = window(1), torch.zeros(1, 6, 3)
    again = load_bundle(tmp_path / "bundle")
    assert torch.equal(bundle.decide(one, noise).chunk, again.decide(one, noise).chunk)


def test_a_reference_to_another_policy_is_refused(uri: str, tmp_path: Path) -> None:
    with served("make", 0, "--option", "weights=2.0") as other:
        save_reference(tmp_path, uri, open_policy(other))
        with pytest.raises(ScoreError, match="it was changed"):
            open_policy(tmp_path)
