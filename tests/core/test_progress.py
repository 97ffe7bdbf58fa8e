import io
import itertools

from rich.console import Console

from score_rl.core.progress import LOG_INTERVAL_S, progress


def run(console: Console, done: int = 0, step_s: float = 0.0) -> None:
    """By a clock that moves on by `step_s` whenever it is asked."""
    with progress(
        "train", total=3, done=done, console=console, clock=itertools.count(9.0, step_s).__next__
    ) as advance:
        advance(note="loss 0.5")
        advance(2 - done)


def test_a_log_file_gets_a_line_at_the_end_only():
    text = io.StringIO()
    run(Console(file=text), done=1)
    assert text.getvalue() == "train: 3/3 in 0 s loss 0.5\n"


def test_a_log_file_gets_a_line_now_and_then():
    text = io.StringIO()
    run(Console(file=text), step_s=LOG_INTERVAL_S)
    assert text.getvalue().splitlines() == [
        "train: 1/3 in 30 s loss 0.5",
        "train: 3/3 in 60 s loss 0.5",
        "train: 3/3 in 90 s loss 0.5",
    ]


def test_a_terminal_gets_a_bar():
    text = io.StringIO()
    run(Console(file=text, force_terminal=True, width=100))
    assert "3/3" in text.getvalue() and "loss 0.5" in text.getvalue()
