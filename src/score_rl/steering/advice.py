"""What a run says while it learns: that its steps are too large or that it does worse than z = 0; what to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from score_rl.steering.ppo import PPOConfig

PATIENCE = 4
"""Iterations over which figures are averaged before anything is said."""
MOST_KL = 3.0
"""Mean above which steps are too large. Runs that learn have a KL of 0.05 to 2.2, more where exploration holds on
than where it is independent: a whole rollout is compared behind the last epoch, in some dozen dimensions."""
PATIENT_SHARE, LEAST_SHARE = 0.5, 0.5
"""Share of the run before which doing worse than z = 0 means nothing, since it begins as the base policy; and the
share of z = 0's success below which something is wrong: runs that end well above it explore below it for long."""


def advice(
    records: Sequence[Mapping[str, Any]], elapsed: float, ppo: PPOConfig, zero_success: float | None
) -> dict[str, str]:
    """What to say, by kind ("steps", "below_z0"); nothing where all is well or there are too few records.

    records: of the latest iterations in one world. elapsed: share of the run that lies behind. zero_success: of z = 0
    in this world, at the end of its episodes; None where it is unknown.
    """
    recent, found = records[-PATIENCE:], {}
    if len(recent) < PATIENCE:
        return {}
    if (kl := _mean(recent, "kl")) > MOST_KL:
        found["steps"] = (
            f"the learner's steps are too large: KL {kl:.2f} (at most {MOST_KL:g}) over {PATIENCE} iterations; try "
            f"--learner.ppo.learning-rate {ppo.learning_rate / 3:.1g}, fewer --learner.ppo.epochs than {ppo.epochs}, "
            "or more --num-envs"
        )
    success = _mean(recent, "success_end")
    if zero_success is not None and elapsed >= PATIENT_SHARE and success < LEAST_SHARE * zero_success:
        found["below_z0"] = (
            f"success {success:.0%} while exploring is far below the {zero_success:.0%} of z = 0, the base policy "
            "without its noise; try --learner.start.std 0.5, which explores less, or --start with the best constant "
            "latent (score ticket). If the mean stays below, the run leaves the constant latent"
        )
    return found


class Adviser:
    """Listens to a run's records and says every kind of thing once."""

    def __init__(
        self, ppo: PPOConfig, iterations: int, say: Callable[[str], None], past: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """iterations: of the whole run. past: records of a run that goes on, so that it hears what it would have."""
        self.ppo, self.iterations, self.say = ppo, iterations, say
        self.recent = list(past[-PATIENCE:])

    def hear(self, record: Mapping[str, Any], zero_success: float | None, said: dict[str, str]) -> None:
        """Take the next record, see `advice`; what is new is said and noted in `said`, by its kind."""
        self.recent = [past for past in self.recent if past["stage"] == record["stage"]][1 - PATIENCE :] + [record]
        elapsed = (record["iteration"] + 1) / self.iterations
        for kind, line in advice(self.recent, elapsed, self.ppo, zero_success).items():
            if kind not in said:
                said[kind] = f"iteration {record['iteration']}: {line}"
                self.say(f"  {said[kind]}")


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float:
    """Mean of a figure; 0 where a learner does not report it."""
    return sum(record.get(name, 0.0) for record in records) / len(records)
