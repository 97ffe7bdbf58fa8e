"""Stages around given demonstrations: fitting settings to them, checking them, repairing them."""

from __future__ import annotations

from dataclasses import replace

from score_rl.pipeline.inputs import Notify, silent
from score_rl.policies.flow.representation import plain_representation
from score_rl.tasks.settings import PretrainSettings


def plain_settings(settings: PretrainSettings, notify: Notify = silent) -> PretrainSettings:
    """Settings whose chosen keys need no robot that a recipe knows, see `plain_representation`; `notify` hears of
    every change."""
    policy = settings.training.policy
    plain = plain_representation(policy.representation)
    for name in ("observation", "action"):
        before, after = (getattr(one, name) for one in (policy.representation, plain))
        if after != before:
            keys = ", ".join(plain.keys)
            notify(f'  {name} "{after}" instead of the recipe\'s "{before}", which the keys {keys} do not serve')
    policy = replace(policy, representation=plain)
    return replace(settings, training=replace(settings.training, policy=policy))
