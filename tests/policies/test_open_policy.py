"""Policies by URI, and references to policies that live elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import read_json
from score_rl.policies.open import open_policy, policy_folder, save_reference

TOY = "toys:ToyPolicy"


def test_a_factory_is_opened_with_options_and_frozen() -> None:
    policy = open_policy(f"{TOY}?horizon=6")
    assert policy.spec.horizon == 6 and not policy.training
    assert not any(parameter.requires_grad for parameter in policy.parameters())


def test_a_reference_leads_to_the_same_policy_or_to_an_error(tmp_path: Path) -> None:
    save_reference(tmp_path / "base", TOY, open_policy(TOY))
    for path in (tmp_path / "base", tmp_path):  # itself, or a bundle around it
        assert policy_folder(path) == tmp_path / "base"
        assert open_policy(path).fingerprint() == open_policy(TOY).fingerprint()
    file = tmp_path / "base" / "reference.json"
    write_json(file, read_json(file) | {"uri": f"{TOY}?horizon=6"})
    with pytest.raises(ScoreError, match="it was changed"):
        open_policy(tmp_path)
    write_json(file, read_json(file) | {"version": 2})
    with pytest.raises(ScoreError, match="format version 2; this program reads 1"):
        open_policy(tmp_path)


def test_fingerprints_see_weights_and_shape() -> None:
    policy = open_policy(TOY)
    assert policy.fingerprint() == open_policy(TOY).fingerprint() != open_policy(f"{TOY}?history=3").fingerprint()
    policy.strength += torch.tensor(1e-6)
    assert policy.fingerprint() != open_policy(TOY).fingerprint()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere", "nowhere/policy.json does not exist"),
        ("no/where", "no/where/policy.json does not exist"),
        ("opnpi://host:1", "unknown scheme of a policy's URI 'opnpi'"),
        (f"{TOY}?horizn=6", "did you mean 'horizon'?"),
        ("toys:ToyWorld", "is no FlowPolicy: ToyWorld has no encode, decode"),
    ],
)
def test_what_is_no_policy_is_said(uri: str, message: str) -> None:
    with pytest.raises(ScoreError) as error:
        open_policy(uri)
    assert message in str(error.value)
