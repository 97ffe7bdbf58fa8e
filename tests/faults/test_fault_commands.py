"""Commands as a newcomer, an operator and a hostile user type them: one clear message, and nothing was touched."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from house import build

from score_rl.cli import main as cli
from score_rl.cli.tasks import Tasks
from score_rl.core.records import read_json, read_json_lines
from score_rl.core.terminal import show
from score_rl.evaluation.run import read_evaluation
from score_rl.report.tables import results_table

DEBUG = ("--recipe", "debug")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house")
    build(root)
    return root


@pytest.fixture
def unchanged(house: Path):
    """Nothing below the house may change."""
    before = tree(house)
    yield
    assert tree(house) == before


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def failure(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert cli.main([str(word) for word in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "Traceback" not in message and message.count("\n") == 1
    return message.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ("pretrain", "--dataset", "demonstrations", "--out", "demonstrations"),
        ("pretrain", "--dataset", "demonstrations", "--out", "demonstrations/dataset"),
        ("pretrain", "--dataset", "demonstrations/dataset", "--out", "demonstrations"),
        ("pretrain", "--dataset", "demonstrations", "--out", "demonstrations/dataset/base"),
        ("bundle", "--policy", "base", "--out", "base"),
        ("bundle", "--policy", "base", "--out", "base/bundle"),
        ("bundle", "--policy", "base", "--steering", "steer", "--out", "steer"),
        ("report", "--evaluations", "evaluation", "--out", "evaluation/result.json"),
        ("export", "bundle", "--onnx", "--out", "bundle/model.onnx"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_no_output_harms_an_input(
    house: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(house)
    keys = (
        "--training.policy.representation.keys",
        "state",
        "--training.policy.representation.observation",
        "identity",
    )
    more = (*keys, "--training.policy.representation.action", "absolute") if arguments[0] == "pretrain" else ()
    message = failure(capsys, *DEBUG * (arguments[0] == "pretrain"), *arguments, *more, "--overwrite")
    assert "the output" in message and "choose another place" in message


@pytest.mark.usefixtures("unchanged")
def test_nothing_but_reports_is_replaced_by_a_report(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "report.html"
    mine.write_text("<html>my notes</html>")
    for out in (house / "base" / "policy.safetensors", mine):
        message = failure(capsys, "report", "--evaluations", house / "evaluation", "--out", out, "--overwrite")
        assert "is no report that score wrote" in message
    assert "is no report" in failure(capsys, *DEBUG, "demo", "--out", tmp_path, "--overwrite")
    assert list(tmp_path.iterdir()) == [mine] and mine.read_text() == "<html>my notes</html>"
    for name in ("notes.txt", "policy.bin"):
        (tmp_path / name).write_text("mine")
        message = failure(capsys, "export", house / "bundle", "--onnx", "--out", tmp_path / name, "--overwrite")
        assert "is no export that score wrote" in message and (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--evaluation.episodes", "0"), "evaluation.episodes is 0, expected >= 1"),
        (("evaluate", "--evaluation.num-envs", "-7"), "evaluation.num_envs is -7, expected 1 to 1000000"),
        (("evaluate", "--execute-steps", "0"), "execute_steps is 0, expected >= 1"),
        (("evaluate", "--evaluation.support-test.level", "nan"), "level is nan, expected a finite number"),
        (("steer", "--learner.ppo.gamma", "2"), "gamma"),
        (("steer", "--num-envs", "1000000000"), "num_envs is 1000000000, expected 1 to 1000000"),
        (("steer", "--threads", "0"), "threads is 0, expected >= 1"),
        (("steer", "--learner.latent.bound", "inf"), "learner.latent.bound is inf, expected a finite number"),
        (("steer", "--learner.seed", "99999999999999999999999"), "learner.seed is 99999999999999999999999"),
        (("pretrain", "--training.learning-rate", "nan"), "training.learning_rate is nan, expected a finite number"),
        (("pretrain", "--training.ema-max", "2"), "training.ema_max is 2.0, expected >= 0 and < 1"),
        (("pretrain", "--training.batch-size", "1000000000"), "batch_size is 1000000000, expected 1 to 1048576"),
        (("pretrain", "--training.grad-norm", "-1"), "training.grad_norm is -1.0, expected > 0"),
        (("audit", "--panel.sizes", "nan"), "panel.sizes[0] is nan, expected a finite number"),
        (("audit", "--panel.sizes"), "panel.sizes is (), expected >= 1 entries"),
        (("collect", "--num-envs", "0"), "num_envs is 0, expected 1 to 1000000"),
        (("calibrate", "--fit.timestep-s", "0"), "fit.timestep_s is 0.0, expected > 0 and <= 0.1"),
        (("demo", "--twin-episodes", "0"), "twin_episodes is 0, expected >= 1"),
        (("rehearse", "--time-limit-s", "nan"), "time_limit_s"),
        (("serve", "--port", "70000"), "port is 70000, expected 0 to 65535"),
        (("report", "--videos", "-1"), "videos is -1, expected >= 0"),
        (("export", "--windows", "0"), "windows is 0, expected >= 1"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_a_number_out_of_range_is_refused_before_anything_is_touched(
    house: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", house / "base", "--overwrite") if arguments[0] not in ("serve",) else ()
    arguments = ("rehearse", "--runtime.time-limit-s", "nan") if arguments[0] == "rehearse" else arguments
    assert message in failure(capsys, *arguments, *out)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines", r"two\nlines"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202egnirts", r"\u202egnirts"),
        ("\x9b2J", r"\x9b2J"),
        ("no-utf8-\udcff", r"no-utf8-\udcff"),
    ],
)
def test_text_from_outside_does_nothing_to_a_terminal(
    text: str, seen: str, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: unknown task '{seen}'" in failure(capsys, "collect", "--task", text)
    assert seen in failure(capsys, "pretrain", "--dataset", text)
    records = [{**record, "world": text} for record in read_evaluation(house / "evaluation")]
    show(results_table(records))
    shown = capsys.readouterr().out
    assert seen in shown and text not in shown


@pytest.mark.parametrize("text", ["[/x]", "[bold]x", "x[/y]z", ":smile:"])
def test_text_from_outside_is_shown_as_it_is(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"unknown task '{text}'" in failure(capsys, "collect", "--task", text)
    assert f"{text} does not exist" in failure(capsys, "pretrain", "--dataset", text)
    Path("taken").mkdir()
    Path("taken", text.replace("/", "")).write_text("")
    assert text.replace("/", "") in failure(capsys, *DEBUG, "collect", "--out", "taken")


@pytest.mark.parametrize("out", ["a\0b", "x" * 300, "/", "file/inside", "/proc/nothing"])
def test_an_output_that_cannot_be_is_one_clear_message(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    message = failure(capsys, *DEBUG, "collect", "--out", out)
    assert any(word in message for word in ("cannot", "expected a path", "not enough disk space"))


@pytest.mark.parametrize("out", ["", ".", "/", "..", "a\0b", "x" * 300])
@pytest.mark.usefixtures("unchanged")
def test_a_bundle_never_takes_the_place_of_where_one_is(
    out: str, house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    message = failure(capsys, "bundle", "--policy", house / "base", "--out", out, "--overwrite")
    assert any(word in message for word in ("cannot", "the output", "expected a path"))


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_a_flipped_byte_is_noticed_by_the_next_stage(
    name: str, house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = house / "base" / name
    data = path.read_bytes()
    try:
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
        message = failure(capsys, "bundle", "--policy", house / "base", "--out", tmp_path / "b")
    finally:
        path.write_bytes(data)
    assert name in message


@pytest.mark.parametrize("text", ["", "name = 'x'\n", "[physics]\n", "name = ["])
def test_an_empty_or_cut_domain_is_no_nominal_robot(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "robot.toml").write_text(text)
    message = failure(capsys, *DEBUG, "collect", "--world", tmp_path / "robot.toml", "--out", tmp_path / "out")
    assert "robot.toml" in message and not (tmp_path / "out").exists()


def edited(path: Path, *keys: str, value: object) -> None:
    """Set one value of a record."""
    record = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("config", "network", "widths"), [10**9], "widths[0] is 1000000000, expected 1 to 16384"),
        (("config", "network", "widths"), [1] * 65, "expected 1 to 64 entries"),
        (("spec", "horizon"), 10**12, "a chunk has 2000000000000 entries"),
        (("spec", "history"), 10**9, "a window has"),
        (("spec", "latent_shape"), [10**6, 10**6], "a latent has 1000000000000 entries"),
        (("spec", "interface", "observation", "state", "shape"), [10**9], "'state' has 1000000000 entries"),
        (("config", "representation", "keys"), ["stat"], "unknown observed key 'stat'; did you mean 'state'"),
        (("config", "representation", "views"), ["cloud"], "unknown view 'cloud'"),
    ],
)
def test_a_file_that_asks_for_more_than_there_is_gets_none_of_it(
    keys: tuple[str, ...], value: object, message: str, house: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = tmp_path / "base"
    shutil.copytree(house / "base", base)
    (base / "run.json").unlink()
    edited(base / "policy.json", *keys, value=value)
    assert message in failure(capsys, "bundle", "--policy", base, "--out", tmp_path / "b")


@pytest.mark.parametrize("value", [3, [], [[1.0]], [["x"]], [[0.0, 0.0]] * 3])
def test_options_of_a_steering_are_read_strictly(
    value: object, house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steer = tmp_path / "steering"
    shutil.copytree(house / "steer" / "steering", steer)
    edited(steer / "steering.json", "spec", "options", value={"complement": value})
    message = failure(capsys, "bundle", "--policy", house / "base", "--steering", steer, "--out", tmp_path / "b")
    assert "complement" in message


def test_what_does_not_fit_into_memory_is_said(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    for error in (
        MemoryError("Unable to allocate 9 TiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):
        monkeypatch.setattr(Tasks, "run", lambda self, error=error: (_ for _ in ()).throw(error))
        assert "not enough memory for what was asked" in failure(capsys, "tasks")
    monkeypatch.setattr(Tasks, "run", lambda self: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["tasks"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("result.json", lambda records: [], "holds no record"),
        ("result.json", lambda records: records[:1] + [records[1] | {"n": 7}], "counts 7 episodes"),
        ("result.json", lambda records: [records[0] | {"policy": "other"}], "but holds 0"),
        ("result.json", lambda records: [records[1] | {"vs_base_95": 3}], "interval is 3, expected"),
        ("result.json", lambda records: [records[1] | {"vs_base_wins": None}], "wins is None"),
        ("result.json", lambda records: [records[0] | {"first_seed": "x"}], "first_seed is 'x'"),
        ("result.json", lambda records: [records[0] | {"support_auc": 0.5}], "lacks support_n"),
        ("episodes.jsonl", lambda records: records[:2], "but holds 2"),
    ],
)
def test_a_report_of_records_that_do_not_fit_together_is_refused(
    name: str, change: Callable[[list], list], message: str, house: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "evaluation"
    shutil.copytree(house / "evaluation", folder)
    (folder / "run.json").unlink()
    path = folder / name
    lines = name.endswith("l")
    records = read_json_lines(path) if lines else read_json(path)
    path.write_text("".join(json.dumps(r) + "\n" for r in change(records)) if lines else json.dumps(change(records)))
    said = failure(capsys, "report", "--evaluations", folder, "--out", tmp_path / "report.html")
    assert message in said and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_tables_are_whole_in_a_pipe(
    columns: str, house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    records = [{**record, "world": "a_domain_of_a_long_name" * 4} for record in read_evaluation(house / "evaluation")]
    show(results_table(records))
    text = capsys.readouterr().out
    for word in ("success", "vs z = 0", "force p95", "stops", "a_domain_of_a_long_name" * 4, "base, z = 0"):
        assert word in text
    assert "…" not in text


def test_a_terminal_without_dashes_gets_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("ascii", "latin-1", "cp1252"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        monkeypatch.setattr(Tasks, "run", lambda self: show("é – ✓ 日本", "whole"))
        assert cli.main(["tasks"]) == 0
        sys.stdout.flush()
        assert written.getvalue().endswith(b"whole\n") and b"?" in written.getvalue()


def test_help_shows_the_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "--help"])
    text = capsys.readouterr().out
    for shown in ("--training.steps INT>=1", "--training.learning-rate FLOAT>0", "--training.seed INT 0 to"):
        assert shown in text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("collct",), "did you mean 'collect'"),
        (("collect", "--task", "pinch"), "did you mean 'pinch_cube'"),
        (("collect", "--world", "proxi"), "did you mean 'proxy'"),
        (("steer", "--method", "residul"), "did you mean 'residual'"),
        (("steer", "--learner.latent.kind", "subspac"), "unknown learner.latent.kind 'subspac'; did you mean"),
        (("pretrain", "--training.policy.network.kind", "unte"), "did you mean 'unet'"),
        (("evaluate", "--policies", "bse", "--policy", "BASE"), "did you mean 'base'"),
        (("evaluate", "--controls", "tiled", "--policy", "BASE"), "did you mean 'base_tiled'"),
        (("run", "BUNDLE", "--robot", "proxi"), "did you mean 'proxy'"),
        (("run", "BUNDLE", "--options", "adress=x"), "did you mean 'address'"),
        (("pretrain", "--dataset", "DATA", "--training.policy.representation.keys", "stat"), "did you mean"),
    ],
)
def test_every_name_has_its_nearest_match(
    arguments: tuple[str, ...], hint: str, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": "demonstrations", "BASE": "base", "BUNDLE": "bundle"}
    arguments = tuple(str(house / places[word]) if word in places else word for word in arguments)
    assert hint in failure(capsys, *arguments)


def test_an_option_has_its_nearest_match(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["collect", "--num-env", "3"])
    said = capsys.readouterr()
    assert end.value.code == 2 and "--num-envs" in said.err + said.out
