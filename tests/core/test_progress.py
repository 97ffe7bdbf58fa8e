import io

from rich.console import Console

from score_rl.core import progress as module
from score_rl.core.progress import progress


def run(console: Console, done: int = 0) -> None:
    with progress("train", total=3, done=done, console=console) as advance:
        advance(note="loss 0.5")
        advance(2 - done)


def test_a_log_file_gets_a_line_at_the_end_only():
    text = io.StringIO()
    run(Console(file=text), done=1)
    assert text.getvalue() == "train: 3/3 in 0 s loss 0.5\n"


def test_a_log_file_gets_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(module, "LOG_INTERVAL_S", 0.0)
    text = io.StringIO()
    run(Console(file=text))
    assert text.getvalue().splitlines()[0] == "train: 1/3 in 0 s loss 0.5"


def test_a_terminal_gets_a_bar():
    text = io.StringIO()
    run(Console(file=text, force_terminal=True, width=100))
    assert "3/3" in text.getvalue() and "loss 0.5" in text.getvalue()
