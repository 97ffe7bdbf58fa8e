"""Chunk execution, with every number worked out by hand on a world that follows a script."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import ToyPolicy, ToyWorld, policy_spec, vectors

from score_rl.contracts import Interface, Observation, StepResult, WorldSpec
from score_rl.core.chunks import ChunkRunner, advance_window, check_fit, start_window
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec


class ScriptedWorld:
    """Row i's state counts: 100 * episode + steps since the reset. Ends and rewards follow a script.

    script[i] lists, per control step since the reset: (reward, "" | "terminated" | "truncated" | "both").
    """

    def __init__(self, *script: list[tuple[float, str]], success: set[tuple[int, int]] = frozenset()) -> None:
        self.script, self.success_at = script, success
        self.spec = WorldSpec(
            num_envs=len(script),
            interface=Interface(vectors(state=1, other=2), action_spec(("a",)), 10.0),
            critic=vectors(truth=1),
            action_low=(-5.0,),
            action_high=(5.0,),
            time_limit=100,
        )
        self.sent: list[torch.Tensor] = []

    def reset(self, seeds):
        self.time, self.episode = 0, torch.zeros(len(self.script))
        self.count = torch.zeros(len(self.script))
        return self._observe()

    def step(self, action):
        self.sent.append(action.clone())
        rewards, ends = zip(*(row[self.time] for row in self.script))
        success = torch.tensor([(row, self.time) in self.success_at for row in range(len(ends))])
        force = torch.tensor([float(self.time + 10 * row) for row in range(len(ends))])
        self.time += 1
        self.count = self.count + 1
        final = self._observe()
        terminated = torch.tensor([end in ("terminated", "both") for end in ends])
        truncated = torch.tensor([end in ("truncated", "both") for end in ends])
        done = terminated | truncated
        self.episode = self.episode + done
        self.count = torch.where(done, 0.0, self.count)
        info = {"peak_force_n": force, "fault": terminated, "joints": torch.zeros(len(ends), 3)}
        reward = torch.tensor(rewards)
        return StepResult(self._observe(), reward, terminated, truncated, success, final, info)

    def close(self):
        pass

    def _observe(self):
        state = (100 * self.episode + self.count)[:, None]
        return Observation({"state": state, "other": state.repeat(1, 2)}, {"truth": -state})


WIDTHS = {"state": 1, "other": 2, "cloud": 3}


def runner_of(world, steps=4, history=1, gamma=1.0, filler=None, keys=("state",)):
    def nothing(window):
        raise AssertionError("no filler was expected")

    spec = policy_spec({key: WIDTHS[key] for key in keys}, ("a",), history, horizon=8)
    runner = ChunkRunner(world, spec, steps, filler or nothing, gamma)
    runner.start(list(range(world.spec.num_envs)))
    return runner


def chunk_of(*rows, horizon=None):
    chunk = torch.tensor(rows, dtype=torch.float32)[:, :, None]
    return chunk


QUIET = [(0.0, "")] * 12


def test_actions_are_sent_in_order_and_only_the_first_steps():
    world = ScriptedWorld(QUIET, QUIET)
    result = runner_of(world, steps=3).execute(chunk_of([1, 2, 3, 4], [5, 4, 3, 2]))
    assert torch.cat(world.sent, dim=1).tolist() == [[1, 2, 3], [5, 4, 3]]
    assert result.steps.tolist() == [3, 3]
    assert not result.done.any()


def test_reward_is_discounted_per_control_step():
    world = ScriptedWorld([(1.0, ""), (2.0, ""), (4.0, ""), (0.0, "")])
    result = runner_of(world, steps=3, gamma=0.5).execute(chunk_of([0, 0, 0]))
    assert result.reward.item() == pytest.approx(1.0 + 0.5 * 2.0 + 0.25 * 4.0)


def test_a_decision_owns_the_steps_up_to_its_first_done_and_no_more():
    # Row 0 ends at its second step; what its next episode earns (100 per step) must not be credited.
    world = ScriptedWorld([(1.0, ""), (2.0, "terminated"), (100.0, ""), (100.0, "")], [(1.0, "")] * 4)
    runner = runner_of(world, gamma=0.5, filler=lambda window: torch.zeros(1, 4, 1))
    result = runner.execute(chunk_of([0] * 4, [0] * 4))
    assert result.reward.tolist() == [pytest.approx(2.0), pytest.approx(1.875)]
    assert result.steps.tolist() == [2, 4]
    assert result.terminated.tolist() == [True, False]
    assert result.truncated.tolist() == [False, False]


@pytest.mark.parametrize(
    ("end", "terminated", "truncated"),
    [("terminated", True, False), ("truncated", False, True), ("both", True, False)],
)
def test_truncation_is_kept_apart_from_termination(end, terminated, truncated):
    world = ScriptedWorld([(0.0, ""), (0.0, end), (0.0, "")])
    runner = runner_of(world, steps=2)
    result = runner.execute(chunk_of([0, 0]))
    assert (bool(result.terminated), bool(result.truncated)) == (terminated, truncated)
    (episode,) = runner.take_episodes()
    assert (episode.terminated, episode.truncated) == (terminated, truncated)


def test_a_second_end_inside_the_chunk_belongs_to_the_filler():
    world = ScriptedWorld([(0.0, "truncated"), (7.0, ""), (0.0, "terminated"), (0.0, "")])
    runner = runner_of(world, filler=lambda window: torch.ones(1, 4, 1))
    result = runner.execute(chunk_of([9] * 4))
    assert (bool(result.terminated), bool(result.truncated), int(result.steps)) == (False, True, 1)
    assert result.reward.item() == 0.0
    assert result.final_observation.actor["state"].item() == 1.0
    first, second = runner.take_episodes()
    assert (first.index, first.steps, first.filler_steps, first.reward) == (0, 1, 0, 0.0)
    assert (second.index, second.steps, second.filler_steps, second.reward) == (1, 2, 2, 7.0)


def test_final_and_next_observation():
    world = ScriptedWorld([(0.0, ""), (0.0, "truncated"), (0.0, ""), (0.0, "")], QUIET)
    runner = runner_of(world, history=2, filler=lambda window: torch.zeros(1, 4, 1))
    result = runner.execute(chunk_of([0] * 4, [0] * 4))
    # Row 0 ended at count 2 of episode 0; its next episode (100 + count) has run two filler steps since.
    assert result.final_observation.actor["state"].flatten().tolist() == [2.0, 4.0]
    assert result.final_observation.critic["truth"].flatten().tolist() == [-2.0, -4.0]
    assert result.final_window["state"][..., 0].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert runner.observation.actor["state"].flatten().tolist() == [102.0, 4.0]
    assert runner.window["state"][..., 0].tolist() == [[101.0, 102.0], [3.0, 4.0]]


def test_history_advances_at_the_control_rate_and_restarts_with_the_episode():
    world = ScriptedWorld(QUIET, [(0.0, "")] * 3 + [(0.0, "truncated")] + [(0.0, "")] * 8)
    runner = runner_of(world, steps=2, history=4)
    assert runner.window["state"][..., 0].tolist() == [[0, 0, 0, 0]] * 2
    runner.execute(chunk_of([0] * 2, [0] * 2))
    assert runner.window["state"][..., 0].tolist() == [[0, 0, 1, 2]] * 2
    result = runner.execute(chunk_of([0] * 2, [0] * 2))
    # Row 1 ended with the chunk: the next decision starts with its new episode's first frame, repeated.
    assert runner.window["state"][..., 0].tolist() == [[1, 2, 3, 4], [100] * 4]
    assert result.final_window["state"][..., 0].tolist() == [[1, 2, 3, 4]] * 2


def test_only_the_asked_keys_are_stacked():
    runner = runner_of(ScriptedWorld(QUIET), keys=("other",), history=3)
    assert {key: tuple(past.shape) for key, past in runner.window.items()} == {"other": (1, 3, 2)}


def test_filler_runs_from_the_reset_to_the_next_decision():
    seen = []

    def filler(window):
        seen.append(window["state"][..., 0].clone())
        return torch.tensor([[[-1.0], [-2.0], [-3.0], [-4.0]]])

    world = ScriptedWorld(QUIET, [(0.0, "truncated")] + [(0.0, "")] * 11)
    runner = runner_of(world, history=2, filler=filler)
    runner.execute(chunk_of([1, 2, 3, 4], [1, 2, 3, 4]))
    assert torch.cat(world.sent, dim=1).tolist() == [[1, 2, 3, 4], [1, -1, -2, -3]]
    assert [window.tolist() for window in seen] == [[[100.0, 100.0]]]


def test_no_filler_where_the_episode_ends_with_the_chunk():
    world = ScriptedWorld([(0.0, "")] * 3 + [(0.0, "terminated")])
    runner_of(world).execute(chunk_of([0] * 4))  # its filler raises


def test_jump_between_chunks_is_measured_on_clipped_actions():
    world = ScriptedWorld(QUIET, QUIET, [(0.0, "")] * 3 + [(0.0, "truncated")] + [(0.0, "")] * 8)
    runner = runner_of(world)
    first = runner.execute(chunk_of([1, 1, 1, 1], [0, 0, 0, 9], [4, 4, 4, 4]))
    assert first.jump.tolist() == [0.0, 0.0, 0.0]  # episodes start here: nothing came before
    second = runner.execute(chunk_of([3, 0, 0, 0], [-9, 0, 0, 0], [-4, 0, 0, 0]))
    assert second.jump.tolist() == [2.0, 10.0, 0.0]  # 9 and -9 are sent as 5 and -5; row 2 starts anew
    assert [action[1].item() for action in world.sent] == [0, 0, 0, 5, -5, 0, 0, 0]


def test_jump_after_a_filler_is_to_the_filler():
    world = ScriptedWorld([(0.0, "truncated")] + [(0.0, "")] * 11)
    runner = runner_of(world, filler=lambda window: torch.full((1, 4, 1), 2.0))
    runner.execute(chunk_of([0, 0, 0, 0]))
    assert runner.execute(chunk_of([-1, 0, 0, 0])).jump.item() == 3.0


def test_info_maxima_are_of_the_decision_and_of_the_episode():
    script = [(0.0, "")] * 5 + [(0.0, "terminated")] + [(0.0, "")] * 2
    runner = runner_of(ScriptedWorld(script), filler=lambda window: torch.zeros(1, 4, 1))
    first = runner.execute(chunk_of([0] * 4))
    assert first.info["peak_force_n"].item() == 3.0  # the force is the time: 0 1 2 3
    assert first.info["fault"].item() == 0.0
    second = runner.execute(chunk_of([0] * 4))
    assert second.info["peak_force_n"].item() == 5.0  # 4 5; 6 and 7 belong to the filler
    assert second.info["fault"].item() == 1.0
    assert set(second.info) == {"peak_force_n", "fault"}  # vectors have no maximum
    (episode,) = runner.take_episodes()
    assert episode.info == {"peak_force_n": 5.0, "fault": 1.0}


def test_info_adds_up_by_the_rules_of_the_world():
    script = [(0.0, "")] * 5 + [(0.0, "terminated")] + [(0.0, "")] * 2
    for rule, first, second, whole in (("sum", 6.0, 9.0, 15.0), ("mean", 1.5, 4.5, 2.5)):
        world = ScriptedWorld(script)
        world.spec = replace(world.spec, info={"peak_force_n": rule})
        runner = runner_of(world, filler=lambda window: torch.zeros(1, 4, 1))
        assert runner.execute(chunk_of([0] * 4)).info["peak_force_n"].item() == first  # the force is the time: 0 to 3
        result = runner.execute(chunk_of([0] * 4))
        assert result.info["peak_force_n"].item() == second  # 4 5; 6 and 7 belong to the next episode
        assert result.info["fault"].item() == 1.0  # not named: any
        (episode,) = runner.take_episodes()
        assert episode.info == {"peak_force_n": whole, "fault": 1.0}
        assert (
            runner._episodes.info.values(torch.tensor([2]))["peak_force_n"].item() == {"sum": 13, "mean": 6.5}[rule]
        )


def test_success_at_the_end_and_ever():
    # Row 0 succeeds at step 1 and loses it again; row 1 succeeds in its last step; row 2 never.
    script = [(0.0, "")] * 3 + [(0.0, "truncated")]
    world = ScriptedWorld(script, script, script, success={(0, 1), (1, 3)})
    runner = runner_of(world)
    result = runner.execute(chunk_of(*[[0] * 4] * 3))
    assert result.success.tolist() == [False, True, False]
    episodes = runner.take_episodes()
    assert [episode.success_end for episode in episodes] == [False, True, False]
    assert [episode.success_ever for episode in episodes] == [True, True, False]
    assert [episode.steps_to_success for episode in episodes] == [2, 4, None]


def test_success_after_the_reset_is_not_the_decisions():
    world = ScriptedWorld([(0.0, "truncated")] + [(0.0, "")] * 3, success={(0, 3)})
    runner = runner_of(world, filler=lambda window: torch.zeros(1, 4, 1))
    assert not runner.execute(chunk_of([0] * 4)).success


def test_episodes_are_taken_once_and_forgotten_at_start():
    script = [(1.0, ""), (1.0, "truncated")] * 6
    runner = runner_of(ScriptedWorld(script, script), steps=2)
    runner.execute(chunk_of([0, 0], [0, 0]))
    assert [(e.env, e.index, e.steps, e.reward) for e in runner.take_episodes()] == [(0, 0, 2, 2.0), (1, 0, 2, 2.0)]
    assert runner.take_episodes() == []
    runner.execute(chunk_of([0, 0], [0, 0]))
    runner.start([0, 1])
    assert runner.take_episodes() == []
    runner.execute(chunk_of([0, 0], [0, 0]))
    assert [episode.index for episode in runner.take_episodes()] == [0, 0]


def test_max_jump_of_an_episode():
    script = [(0.0, "")] * 5 + [(0.0, "truncated")]
    runner = runner_of(ScriptedWorld(script), steps=2)
    for first in (0.0, 3.0, -1.0):  # jumps 0, 3 and 4 over chunks that hold their value
        runner.execute(chunk_of([first, first]))
    (episode,) = runner.take_episodes()
    assert episode.max_jump == 4.0


def test_rows_do_not_disturb_each_other():
    """A row runs the same whether others end or not."""
    policy = ToyPolicy()

    def play(seeds):
        world = ToyWorld(num_envs=len(seeds), time_limit=7)
        runner = ChunkRunner(world, policy.spec, 4, lambda w: torch.zeros(len(w["state"]), 4, 1))
        runner.start(seeds)
        results = []
        for _ in range(6):
            # Each row pushes towards its own goal with full strength.
            results.append(runner.execute(runner.window["state"][:, -1:, 1:].repeat(1, 4, 1)))
        return results

    together, alone = play([3, 4, 5, 6]), play([5])
    for one, other in zip(together, alone):
        assert torch.equal(one.reward[2:3], other.reward)
        assert torch.equal(one.final_window["state"][2:3], other.final_window["state"])
        assert torch.equal(one.steps[2:3], other.steps)


def test_windows_are_copies():
    frame = {"state": torch.zeros(2, 1)}
    window = start_window(frame, ["state"], 3)
    later = advance_window(window, {"state": torch.ones(2, 1)}, fresh=torch.tensor([False, True]))
    frame["state"].fill_(9.0)
    assert window["state"][..., 0].tolist() == [[0, 0, 0]] * 2
    assert later["state"][..., 0].tolist() == [[0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 4, 1), (1, 4, 2), (4, 1)])
def test_wrong_chunk_shapes_are_refused_before_anything_moves(shape):
    world = ScriptedWorld(QUIET)
    runner = runner_of(world)
    with pytest.raises(ScoreError, match="chunk has shape"):
        runner.execute(torch.zeros(shape))
    assert world.sent == []


def test_unknown_keys_and_bad_settings_are_refused():
    world = ScriptedWorld(QUIET)
    with pytest.raises(ScoreError, match="the policy reads 'cloud'"):
        runner_of(world, keys=("state", "cloud"))
    with pytest.raises(ScoreError, match="gamma"):
        runner_of(world, gamma=1.5)
    with pytest.raises(ScoreError, match="does not show 'command'"):
        ChunkRunner(world, policy_spec({"state": 1}, ("a",), 1, 4), 4, filler=None)


def test_check_fit_names_what_does_not_fit():
    policy, world = ToyPolicy().spec, ToyWorld().spec
    check_fit(policy, world, 4)
    with pytest.raises(ScoreError, match="1 to 4 can run, not 5"):
        check_fit(policy, world, 5)
    with pytest.raises(ScoreError, match="shows"):
        check_fit(policy, ScriptedWorld(QUIET).spec, 4)
