"""Base policies by URI: what `--policy` of every command takes, and what a bundle may refer to.

    runs/base                       folder of `score pretrain`, or a bundle or a whole loop that holds one
    my_policy?depth=2               name of an entry point (group score_rl.policies), with options
    openpi://host:port              served by another process, see `policies.remote`
    package.module:factory?depth=2  function that returns a `contracts.FlowPolicy`

A policy that lives in no folder is stored as a reference: its URI and the fingerprint that it must have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from score_rl.contracts import FlowPolicy
from score_rl.core import plugins
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.files import write_json
from score_rl.core.interfaces import check_policy_spec
from score_rl.core.records import parse_kind, read_json
from score_rl.policies.flow.policy import DESCRIPTION, WEIGHTS, load_policy
from score_rl.policies.remote.policy import open_remote

POLICIES = "score_rl.policies"
"""Entry points of policies."""
REFERENCE = "reference.json"
"""File of a folder that refers to a policy instead of holding it."""
FILES = (DESCRIPTION, WEIGHTS, REFERENCE)
"""Files of a policy's folder: a flow policy has the first two, a reference the last."""
KIND, VERSION = "score_rl.policy_reference", 1

SCHEMES: Mapping[str, Callable[[str], FlowPolicy]] = {"openpi": open_remote}
"""Scheme of a URI ("name" of "name://...") -> what opens such a URI."""


@dataclass(frozen=True)
class Reference:
    """The content of reference.json."""

    kind: str
    version: int
    uri: str
    fingerprint: str
    """Of the policy when it was stored."""


def open_policy(uri: str | Path) -> FlowPolicy:
    """The policy of a URI, frozen.

    Raises ScoreError that says what there is instead, where nothing has that name; where a plugin fails or gives
    something else; and where a reference leads to a policy of another fingerprint than it did when it was stored.
    """
    folder, uri = policy_folder(uri), str(uri)
    if folder is not None:
        return _referred(folder) if (folder / REFERENCE).is_file() else load_policy(folder)
    scheme, separator, _ = uri.partition("://")
    if separator:
        if scheme not in SCHEMES:
            raise unknown_choice("scheme of a policy's URI", scheme, SCHEMES)
        return SCHEMES[scheme](uri)
    target, _ = plugins.parse_uri(uri)
    if ":" not in target and target not in plugins.names(POLICIES):
        raise _unknown(target)
    policy = plugins.make(POLICIES, uri, "policy", {}, FlowPolicy)
    check_policy_spec(policy.spec, f"policy '{uri}'")
    return policy.requires_grad_(False).eval() if isinstance(policy, nn.Module) else policy


def policy_folder(uri: str | Path) -> Path | None:
    """The folder with the files of the policy of a URI; None where it lives elsewhere."""
    path = Path(uri)
    if not os.path.isdir(uri):  # False for what no file system can hold, such as a URI of thousands of characters
        return None
    inside = path / "base"  # of a bundle, or of a whole loop
    return inside if _holds_policy(inside) and not _holds_policy(path) else path


def save_reference(directory: Path, uri: str, policy: FlowPolicy) -> None:
    """Write the reference to a policy that lives in no folder."""
    write_json(directory / REFERENCE, Reference(KIND, VERSION, uri, policy.fingerprint()))


def read_reference(directory: Path) -> Reference:
    """The reference in a folder. Raises ScoreError where it is none."""
    path = directory / REFERENCE
    return parse_kind(Reference, read_json(path), path, KIND, VERSION)


def _referred(folder: Path) -> FlowPolicy:
    reference = read_reference(folder)
    policy = open_policy(reference.uri)
    if (found := policy.fingerprint()) != reference.fingerprint:
        raise ScoreError(
            f"{folder / REFERENCE} refers to the policy {reference.uri} with fingerprint "
            f"{reference.fingerprint[:12]}, but that one now is {found[:12]}: it was changed"
        )
    return policy


def _holds_policy(path: Path) -> bool:
    return (path / DESCRIPTION).is_file() or (path / REFERENCE).is_file()


def _unknown(target: str) -> ScoreError:
    installed = plugins.names(POLICIES)
    missing = f"{Path(target) / DESCRIPTION} does not exist"
    if "/" in target or not installed:
        return ScoreError(missing)
    return ScoreError(f"{missing}; {unknown_choice('installed policy', target, installed)}")
