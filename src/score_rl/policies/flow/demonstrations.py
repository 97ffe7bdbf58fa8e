"""Whether demonstrations are fit to be learned from, by what a policy makes of them."""

from __future__ import annotations

from score_rl.contracts import COMMAND, PolicySpec
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset
from score_rl.data.quality import refuse_sentinels, suspicions
from score_rl.policies.flow.representation import FROM_COMMAND, RepresentationConfig


def check_demonstrations(dataset: Dataset, spec: PolicySpec, config: RepresentationConfig) -> tuple[str, ...]:
    """What is suspicious about the numbers that a policy is to learn from, one line each.

    Raises ScoreError for those that no robot measures.
    """
    raw = [key for key, encoder in config.encoders.items() if encoder == "raw"]  # flags may well never change
    floors = {OBSERVATION + key: config.feature_floor for key in spec.window if key not in raw}
    floors |= {ACTION: config.action_floor}
    refuse_sentinels(dataset, floors)
    lines = list(suspicions(dataset, floors, spec.horizon))
    if unknown_frames(dataset, config):
        lines.append(
            f"{config.action} actions start from the command, which was not recorded: it is taken from the action "
            "before, and every episode's first frame, which has none, is left out"
        )
    return tuple(lines)


def unknown_frames(dataset: Dataset, config: RepresentationConfig) -> int:
    """Frames at the start of every episode that do not know the command from which their actions start."""
    return int(config.action in FROM_COMMAND and OBSERVATION + COMMAND in dataset.derived)
