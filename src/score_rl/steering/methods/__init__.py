"""The rivals and controls that SCORE is compared with, each one file, on the loop of `steering.loop`."""

from __future__ import annotations

from pathlib import Path

from score_rl.contracts import FlowPolicy
from score_rl.steering.method import SCORE, Method, Trained
from score_rl.steering.methods.base_ticket import BASE_TICKET
from score_rl.steering.methods.bc_regularized import BC_REGULARIZED
from score_rl.steering.methods.best_of_n import BEST_OF_N
from score_rl.steering.methods.fpo import FPO
from score_rl.steering.methods.residual import RESIDUAL
from score_rl.steering.methods.rialto import RIALTO
from score_rl.steering.methods.score_residual import SCORE_RESIDUAL
from score_rl.steering.methods.unconstrained import UNCONSTRAINED
from score_rl.steering.policy import load_steering

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        SCORE,
        RESIDUAL,
        UNCONSTRAINED,
        BC_REGULARIZED,
        SCORE_RESIDUAL,
        BEST_OF_N,
        BASE_TICKET,
        FPO,
        RIALTO,
    )
}
"""Every method of `score steer --method NAME`."""


def load_trained(directory: str | Path, policy: FlowPolicy, device: str = "cpu") -> Trained:
    """Read the bundle of any method for its base policy. Raises ScoreError; see `load_steering`."""
    return load_steering(directory, policy, device, METHODS)
