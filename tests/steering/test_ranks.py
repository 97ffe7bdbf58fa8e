"""Two processes that learn together: identical, resumable, and as one process that has all rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranked import ENVS, ITERATION, ITERATIONS, updated

from score_rl.core import ranks
from score_rl.core.checkpoints import load_tensors
from score_rl.core.files import read_json_lines
from score_rl.core.seeding import derive_seed


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ranked.py` left after torchrun ran it in two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [*command, str(Path(__file__).with_name("ranked.py")), str(folder)], check=True, env=environment, timeout=120
    )
    return folder


def facts(out: Path, rank: int) -> dict:
    return json.loads((out / f"{rank}.json").read_text())


def tensors(out: Path, name: str, rank: int) -> dict[str, torch.Tensor]:
    return load_tensors(out / f"{name}-{rank}.safetensors", "test")[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_ranks_stay_identical_and_resume_to_the_same_bits(out: Path) -> None:
    straight = tensors(out, "straight", 0)
    for name in ("straight", "resumed"):
        for rank in range(2):
            assert same(tensors(out, name, rank), straight)
    assert straight["mlp.2.bias"].any()  # something was learned


def test_only_the_first_writes(out: Path) -> None:
    assert (out / "own-0" / "steering" / "steering.safetensors").exists()
    assert not (out / "own-1").exists()
    assert len(read_json_lines(out / "straight" / "metrics.jsonl")) == ITERATIONS


def test_every_rank_has_environments_of_its_own(out: Path) -> None:
    rows = [derive_seed("steer", 0, ITERATIONS - 1, "episode", row) for row in range(2 * ENVS)]
    assert [facts(out, rank)["seeds"] for rank in range(2)] == [rows[:ENVS], rows[ENVS:]]
    record = read_json_lines(out / "straight" / "metrics.jsonl")[-1]
    assert record["control_steps"] == ITERATIONS * ITERATION
    assert record["success"] * 2 * ENVS == pytest.approx(round(record["success"] * 2 * ENVS))


def test_two_ranks_learn_what_one_learns_from_all_rows(out: Path) -> None:
    """Moments, advantages and clipped gradients are those of all rows, up to rounding."""
    both, figures = updated(0, 6)
    for rank in range(2):
        part = tensors(out, "updated", rank)
        assert all(torch.allclose(part[name].float(), both[name].float(), atol=1e-5) for name in both)
    means = facts(out, 0)["figures"]
    for name in ("kl", "value_loss", "latent_std", "latent_mean_square"):
        assert means[name] == pytest.approx(figures[name], abs=1e-5)


def test_differences_and_other_stages_are_refused(out: Path) -> None:
    for rank in range(2):
        assert "the ranks differ in their numbers: [0, 1]" in facts(out, rank)["refused"]
        assert "evaluate runs in one process; only steer shares its work among 2 ranks" in facts(out, rank)["refused"]


def test_one_rank_exchanges_nothing() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    assert (ranks.rank(), ranks.count(), ranks.gather({"a": 1})) == (0, 1, [{"a": 1}])
    assert ranks.mean(values) is values
    mean, variance, count = ranks.moments(values[:, None])
    assert (mean.item(), variance.item(), count) == (pytest.approx(7 / 3), pytest.approx(14 / 9), 3)
    assert ranks.standardized(values).tolist() == pytest.approx([-0.8729, -0.2182, 1.0911], abs=1e-4)
