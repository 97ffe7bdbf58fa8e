"""Stages around given demonstrations: fitting settings to them, checking them, repairing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from score_rl.core.errors import ScoreError
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset, load_dataset
from score_rl.data.merge import merge
from score_rl.data.proposal import Proposal, propose
from score_rl.data.quality import Entry, entries, refuse_sentinels, suspicions
from score_rl.data.repair import Repair, repair_dataset
from score_rl.pipeline.inputs import Notify, dataset_root, dataset_roots, silent
from score_rl.policies.flow.representation import RepresentationConfig, plain_representation
from score_rl.tasks.settings import PretrainSettings


def plain_settings(settings: PretrainSettings, notify: Notify = silent) -> PretrainSettings:
    """Settings whose chosen keys need no robot that a recipe knows, see `plain_representation`; `notify` hears of
    every change."""
    policy = settings.training.policy
    plain = plain_representation(policy.representation)
    keys = ", ".join(plain.keys)
    if (views := policy.representation.views) != plain.views:
        notify(f"  no views, which the keys {keys} do not serve, instead of the recipe's {', '.join(views)}")
    for name in ("observation", "action"):
        before, after = (getattr(one, name) for one in (policy.representation, plain))
        if after != before:
            notify(f'  {name} "{after}" instead of the recipe\'s "{before}", which the keys {keys} do not serve')
    policy = replace(policy, representation=plain)
    return replace(settings, training=replace(settings.training, policy=policy))


@dataclass(frozen=True)
class Checked:
    """Result of `check`."""

    dataset: Dataset
    entries: Mapping[str, Sequence[Entry]]
    """Feature -> what every entry does; the features are observations and actions that were recorded."""
    warnings: Sequence[str]
    """What is suspicious, one line each."""
    success: NDArray[np.bool_] | None
    """(episodes,) whether each succeeded, where the dataset says so."""
    proposal: Proposal | None
    """Settings to start from."""
    reused: bool = False
    """Nothing is kept, so never."""


@dataclass(frozen=True)
class Repaired:
    """Result of `repair`."""

    repair: Repair
    reused: bool = False
    """A dataset that was repaired before is not replaced, so never."""


def check(dataset: str | Path | Sequence[str | Path]) -> Checked:
    """What demonstrations are like, before anything is trained on them; writes nothing.

    Raises ScoreError for what cannot be learned from, with its place; `repair` mends what ends too early.
    """
    demonstrations = merge([_load(root) for root in dataset_roots(dataset)])
    recorded = [
        name
        for name in demonstrations.features
        if (name == ACTION or name.startswith(OBSERVATION)) and name not in demonstrations.derived
    ]
    refuse_sentinels(demonstrations, recorded)
    usual, proposal = RepresentationConfig(), propose(demonstrations)
    floors = {name: usual.action_floor if name == ACTION else usual.feature_floor for name in recorded}
    horizon = proposal.horizon if proposal else usual.horizon
    return Checked(
        demonstrations,
        {name: found for name in recorded if (found := entries(demonstrations, name))},
        list(suspicions(demonstrations, floors, horizon)),
        _success(demonstrations),
        proposal,
    )


def _load(root: Path) -> Dataset:
    try:
        return load_dataset(root)
    except ScoreError as error:
        if not root.is_dir():
            raise
        raise ScoreError(f"{error}. `score repair {root} --out NEW` keeps the whole episodes before it") from error


def repair(dataset: str | Path, out: str | Path) -> Repaired:
    """Write the longest whole prefix of an interrupted recording into a new folder; see `repair_dataset`."""
    return Repaired(repair_dataset(dataset_root(dataset), out))


def _success(dataset: Dataset) -> NDArray[np.bool_] | None:
    """Whether each episode succeeds in some frame, or as its label says."""
    if (column := dataset.columns.get("next.success")) is not None:
        reached = column.reshape(dataset.num_frames, -1).any(axis=1)
        return np.maximum.reduceat(reached, dataset.starts)
    label = dataset.extra.get("success")
    return label.astype(bool) if label is not None and label.dtype.kind in "bif" else None
