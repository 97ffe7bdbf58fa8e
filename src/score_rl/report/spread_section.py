"""The report's section on the base policy's spread: how much there was to choose, and what was gained by choosing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from score_rl.evaluation.results import policy_name
from score_rl.evaluation.spread import SPREAD
from score_rl.report.charts import drawing, figure


def spread_section(
    records: Sequence[Mapping[str, Any]], traces: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]
) -> str:
    """The spread of every action over the chunk, and every policy's gain; empty where it was not measured."""
    measured = next((record for record in records if "spread_action" in record), None)
    kept = traces.get("base", {}).get(SPREAD + "action")
    if measured is None or kept is None:
        return ""
    gains = [
        f"{policy_name(record['policy'])} {100 * record['vs_base_difference']:+.1f} points"
        for record in records
        if "vs_base_difference" in record
    ]
    caption = (
        f"Standard deviation over {measured['spread_samples']} chunks that the base policy draws in one state, mean "
        f"over {measured['spread_states']} states: {measured['spread_action']:.3g} in action units"
    )
    if "spread_normalized" in measured:
        caption += f", {measured['spread_normalized']:.3g} in normalised ones"
    caption += (
        f". That is what choosing a latent can choose from; gained by it: {', '.join(gains)}." if gains else "."
    )
    return f"<h2>What there is to choose</h2>{figure(picture(kept, names), caption)}"


def picture(spread: np.ndarray, names: Sequence[str]) -> str:
    """Map of the spread (h, a): one row per action dimension, one column per step of the chunk."""
    with drawing(8.8, 0.6 + 0.16 * spread.shape[1]) as ((axes,), svg):
        image = axes.imshow(spread.T, aspect="auto", cmap="viridis", vmin=0.0)
        axes.grid(False)
        axes.set_xlabel("control step of the chunk")
        axes.set_xticks(range(len(spread)), [str(step + 1) for step in range(len(spread))])
        axes.set_yticks(range(spread.shape[1]), names or [str(index) for index in range(spread.shape[1])], fontsize=6)
        axes.set_title("spread of the base policy's actions [action units]")
        axes.figure.colorbar(image, ax=axes, pad=0.01)
    return svg[0]
