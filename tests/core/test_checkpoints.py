import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from score_rl.core import checkpoints
from score_rl.core.checkpoints import (
    joined,
    load_module,
    load_tensors,
    numpy_rng_state,
    optimizer_to_tensors,
    restore_numpy_rng,
    restore_optimizer,
    restore_torch_rng,
    save_tensors,
    take_prefix,
    torch_rng_state,
    with_prefix,
)
from score_rl.core.errors import ScoreError


def test_round_trip_keeps_every_bit(tmp_path):
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {"view": base.T, "shared": base, "flag": torch.tensor([True]), "empty": torch.zeros(0, 3)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"kind": "policy", "lr": 0.1, "shape": (2, 3)})
    loaded, metadata = load_tensors(tmp_path / "x.safetensors", "policy")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype
    assert metadata == {"kind": "policy", "lr": 0.1, "shape": [2, 3]}


def test_equal_contents_give_equal_files(tmp_path):
    one, two = torch.ones(2), torch.zeros(3)
    save_tensors(tmp_path / "a", {"one": one, "two": two}, {"kind": "k", "x": 1, "y": 2})
    save_tensors(tmp_path / "b", {"two": two, "one": one}, {"y": 2, "x": 1, "kind": "k"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_corrupt_truncated_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ScoreError, match=r"x\.safetensors does not exist"):
        load_tensors(path, "policy")
    save_tensors(path, {"w": torch.ones(100)}, {"kind": "policy"})
    whole = path.read_bytes()
    for broken in (b"", b"rubbish" * 10, whole[:-8], whole[:20]):
        path.write_bytes(broken)
        with pytest.raises(ScoreError, match=r"x\.safetensors is corrupt"):
            load_tensors(path, "policy")
    save_file({"w": torch.ones(1)}, path)
    with pytest.raises(ScoreError, match="not one of score-rl"):
        load_tensors(path, "policy")


def test_another_version_or_kind_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {}, {"kind": "policy"})
    with pytest.raises(ScoreError, match="holds a 'policy', expected a 'steering'"):
        load_tensors(path, "steering")
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 3)
    with pytest.raises(ScoreError, match="format version 2; this release reads 3"):
        load_tensors(path, "policy")
    with pytest.raises(ValueError, match="kind"):
        save_tensors(path, {}, {})


def test_any_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"w": torch.arange(6.0).view(2, 3), "n": torch.ones(2)}, {"kind": "policy", "steps": 5})
    data = path.read_bytes()
    load_tensors(path, "policy")
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ScoreError, match=r"x\.safetensors"):
            load_tensors(path, "policy")


def test_prefixes_are_inverse():
    tensors = {"a.b": torch.ones(1), "c": torch.zeros(1)}
    both = joined(net=tensors, network=tensors)
    assert both == {**with_prefix("net", tensors), **with_prefix("network", tensors)}
    assert take_prefix("net", both) == take_prefix("network", both) == tensors


def test_load_module_is_strict():
    module = nn.Linear(2, 3)
    state = {name: torch.ones_like(value) for name, value in module.state_dict().items()}
    load_module(module, state, "f")
    assert torch.equal(module.weight, torch.ones(3, 2))
    with pytest.raises(ScoreError, match=r"f: 'bias' is torch\.float64, expected torch\.float32"):
        load_module(module, {**state, "bias": torch.ones(3, dtype=torch.float64)}, "f")
    with pytest.raises(ScoreError, match="f: 'bias' holds NaN or infinity: its training diverged"):
        load_module(module, {**state, "bias": torch.tensor([0.0, torch.inf, 1.0])}, "f")
    with pytest.raises(ScoreError, match=r"f: missing entries \['bias'\], unknown entries \['extra'\]"):
        load_module(module, {"weight": state["weight"], "extra": state["bias"]}, "f")
    with pytest.raises(ScoreError, match=r"f: 'bias' has shape \(2,\), expected \(3,\)"):
        load_module(module, {**state, "bias": torch.ones(2)}, "f")


def make_learner(width: int = 3):
    torch.manual_seed(0)
    module = nn.Linear(2, width)
    return module, torch.optim.AdamW(module.parameters(), lr=0.01, betas=(0.8, 0.9))


def train(module, optimizer, steps: int):
    for _ in range(steps):
        optimizer.zero_grad()
        (module(torch.randn(4, 2)) ** 2).mean().backward()
        optimizer.step()


def test_training_resumed_from_a_checkpoint_is_bit_exact(tmp_path):
    module, optimizer = make_learner()
    train(module, optimizer, 3)
    optimizer.param_groups[0]["lr"] = 0.003  # as a scheduler would
    tensors, meta = optimizer_to_tensors(optimizer)
    stored = {**with_prefix("net", module.state_dict()), **with_prefix("opt", tensors), "rng": torch_rng_state()}
    save_tensors(tmp_path / "c", stored, {"kind": "checkpoint", "opt": meta})
    train(module, optimizer, 4)

    other, other_optimizer = make_learner()
    loaded, metadata = load_tensors(tmp_path / "c", "checkpoint")
    load_module(other, take_prefix("net", loaded), "c")
    restore_optimizer(other_optimizer, take_prefix("opt", loaded), metadata["opt"], "c")
    restore_torch_rng(loaded["rng"], "c")
    assert other_optimizer.param_groups[0]["lr"] == 0.003
    assert other_optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    train(other, other_optimizer, 4)
    assert torch.equal(module.weight, other.weight) and torch.equal(module.bias, other.bias)


def test_restore_optimizer_is_strict():
    module, optimizer = make_learner()
    train(module, optimizer, 1)
    tensors, meta = optimizer_to_tensors(optimizer)
    json.dumps(meta)
    with pytest.raises(ScoreError, match=r"c: '0\.exp_avg' has shape \(3, 2\), expected \(4, 2\)"):
        restore_optimizer(make_learner(width=4)[1], tensors, meta, "c")
    with pytest.raises(ScoreError, match="other parameter groups"):
        restore_optimizer(torch.optim.AdamW([module.bias]), tensors, meta, "c")
    with pytest.raises(ScoreError, match=r"missing entries .*'momentum'"):
        restore_optimizer(torch.optim.SGD(module.parameters()), tensors, meta, "c")
    with pytest.raises(ScoreError, match=r"c: missing entries \[\], unknown entries \['7\.exp_avg'\]"):
        restore_optimizer(optimizer, {**tensors, "7.exp_avg": torch.ones(1)}, meta, "c")
    with pytest.raises(ScoreError, match=r"unknown optimiser entry '7\.lazy'"):
        restore_optimizer(optimizer, tensors, {**meta, "values": {"7.lazy": 1}}, "c")
    without = {name: tensor for name, tensor in tensors.items() if name != "1.exp_avg"}
    with pytest.raises(ScoreError, match=r"c: missing entries \['1\.exp_avg'\]"):
        restore_optimizer(make_learner()[1], without, meta, "c")


def test_random_states_resume_exactly(tmp_path):
    generator, numpy_generator = torch.Generator().manual_seed(1), np.random.default_rng(2)
    torch.rand(3, generator=generator), numpy_generator.normal(size=3)
    metadata = {"kind": "rng", "numpy": numpy_rng_state(numpy_generator)}
    save_tensors(tmp_path / "r", {"torch": torch_rng_state(generator)}, metadata)
    expected = torch.rand(3, generator=generator), numpy_generator.normal(size=3)

    tensors, metadata = load_tensors(tmp_path / "r", "rng")
    other, numpy_other = torch.Generator(), np.random.default_rng()
    restore_torch_rng(tensors["torch"], "r", other)
    restore_numpy_rng(numpy_other, metadata["numpy"], "r")
    assert torch.equal(torch.rand(3, generator=other), expected[0])
    np.testing.assert_array_equal(numpy_other.normal(size=3), expected[1])


def test_bad_random_states_are_named():
    with pytest.raises(ScoreError, match="c: bad random state"):
        restore_torch_rng(torch.zeros(3, dtype=torch.uint8), "c")
    with pytest.raises(ScoreError, match="c: bad random state"):
        restore_numpy_rng(np.random.default_rng(), {"bit_generator": "MT19937"}, "c")
