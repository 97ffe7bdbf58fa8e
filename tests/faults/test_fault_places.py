"""What may not be read or written, and outputs that would harm what they are made from: one clear message each."""

from __future__ import annotations

from pathlib import Path

import pytest
from anybody import as_anybody
from house import build
from test_fault_commands import failure, tree

from score_rl.cli import main as cli

DATA = "demonstrations/dataset"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house")
    build(root)
    return root


READS = {
    "base/policy.json": ("bundle", "--policy", "base", "--out", "new"),
    "base/run.json": ("bundle", "--policy", "base", "--out", "new"),
    "base/policy.safetensors": ("bundle", "--policy", "base", "--out", "new"),
    "base": ("bundle", "--policy", "base", "--out", "new"),
    "steer/steering": ("bundle", "--policy", "base", "--steering", "steer", "--out", "new"),
    f"{DATA}/meta/info.json": ("check", "demonstrations"),
    f"{DATA}/meta/episodes": ("check", "demonstrations"),
    f"{DATA}/data/chunk-000/file-000.parquet": ("check", "demonstrations"),
    f"{DATA}/data": ("repair", "demonstrations", "--out", "new"),
    "demonstrations": ("check", "demonstrations"),
    "evaluation/result.json": ("report", "--evaluations", "evaluation", "--out", "new.html"),
    "evaluation/traces": ("report", "--evaluations", "evaluation", "--out", "new.html"),
    "calibration/domain.toml": ("collect", "--world", "calibration/domain.toml", "--out", "new"),
    "bundle/manifest.json": ("info", "bundle"),
    "bundle/base": ("info", "bundle"),
    "bundle": ("serve", "bundle"),
}
"""What may not be read -> a command that reads it."""


@pytest.mark.parametrize("name", READS)
def test_what_may_not_be_read_is_one_clear_message(
    name: str, house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(house)
    mode = Path(name).stat().st_mode
    Path(name).chmod(0)
    try:
        with as_anybody():
            message = failure(capsys, *READS[name])
    finally:
        Path(name).chmod(mode)
    assert Path(name).name in message or "does not exist" in message or "is no bundle" in message
    assert not list(house.glob("new*"))


WRITES = (
    ("bundle", "--policy", "base", "--out", "locked/new"),
    ("check", "demonstrations", "--out", "locked/new.html"),
    ("repair", "demonstrations", "--out", "locked/new"),
    ("report", "--evaluations", "evaluation", "--videos", "0", "--out", "locked/new.html"),
    ("--recipe", "debug", "collect", "--out", "locked/new"),
    ("--recipe", "debug", "collect", "--out", "locked"),
    ("--recipe", "debug", "demo", "--out", "locked"),
    ("robot", "--address", "locked/robot.sock"),
)


@pytest.mark.parametrize("arguments", WRITES, ids=lambda arguments: " ".join(arguments))
def test_what_may_not_be_written_is_one_clear_message(
    arguments: tuple[str, ...], house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(house)
    locked = house / "locked"
    locked.mkdir(mode=0o555, exist_ok=True)
    capsys.readouterr()
    with as_anybody():
        assert cli.main(list(arguments)) == 2
    message = capsys.readouterr().err.splitlines()[-1]  # score check says first what it found
    assert message.startswith("error: ") and "Permission denied" in message and not list(locked.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "demonstrations", "--out", "base/policy.safetensors"), "is no report that score wrote"),
        (("check", "demonstrations", "--out", "demonstrations/dataset/page.html"), "the output"),
        (("check", "demonstrations", "--out", "demonstrations"), "the output"),
        (("check", "base", "demonstrations", "--out", "base/page.html"), "the output"),
        (("calibrate", "--dataset", "demonstrations", "--camera", "calibration/domain.toml", "--out", "calibration"),
         "the output"),
    ],
)  # fmt: skip
def test_no_output_harms_what_it_is_made_from(
    arguments: tuple[str, ...], message: str, house: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(house)
    monkeypatch.setattr("score_rl.real2sim.replay.require_features", lambda dataset, robot: None)
    before = tree(house)
    assert message in failure(capsys, *arguments, "--overwrite")
    assert tree(house) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--policy", "toys:ToyPolicy", "--world", "toys:ToyWorld", "--evaluation.support",
          "--evaluation.support-test.samples", "3"), "level 0.01 is no multiple of"),
        (("pretrain", "--dataset", "demonstrations", "--training.policy.representation.keys", "state", "state"),
         "the observed key 'state' is chosen 2 times"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_together_leaves_no_run(
    arguments: tuple[str, ...], message: str, house: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(house)
    assert message in failure(capsys, *arguments, "--out", "new")
    assert not Path("new").exists()


EXPERIMENT = Path(__file__).parents[2] / "experiments" / "claim_debug.toml"


@pytest.mark.parametrize("out", ["base", "evaluation", "base/policy.json"])
@pytest.mark.parametrize("command", [("benchmark", str(EXPERIMENT), "--dry-run"), ("--recipe", "debug", "demo")])
def test_runs_do_not_go_into_a_run(
    command: tuple[str, ...], out: str, house: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(house)
    before = tree(house)
    message = failure(capsys, *command, "--out", out)
    assert "is the run directory of one stage" in message or "is a file" in message or "Not a directory" in message
    assert tree(house) == before


def test_a_page_of_ours_is_replaced_on_request_only(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "page.html", tmp_path / "notes.html"
    arguments = ["check", str(house / "demonstrations"), "--out"]
    assert cli.main([*arguments, str(ours)]) == 0
    assert "pass --overwrite" in failure(capsys, *arguments, ours)
    assert cli.main([*arguments, str(ours), "--overwrite"]) == 0
    theirs.write_text("mine")
    assert "is no report" in failure(capsys, *arguments, theirs, "--overwrite") and theirs.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "DATA", "DATA"), "demonstrations/dataset is given 2 times"),
        (("check", "DATA", "demonstrations/../demonstrations/dataset"), "is given 2 times"),
        (("pretrain", "--dataset", "DATA", "link", "--out", "new"), "is given 2 times"),
        (("pretrain", "--dataset", "--out", "new"), "no dataset is given"),
        (("calibrate", "--dataset", "--out", "new"), "no dataset is given"),
    ],
)
def test_a_dataset_is_given_once(
    arguments: tuple[str, ...], message: str, house: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(house)
    Path("link").unlink(missing_ok=True)
    Path("link").symlink_to("demonstrations")
    assert message in failure(capsys, *(word.replace("DATA", "demonstrations") for word in arguments))
    assert not Path("new").exists()


CLOUD = ("--observation", "cloud", "--cloud.points", "1", "--cloud.hand")


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ("timestep_s = 1e-9", (), "asks for 1e+08 physics steps per control period"),
        ("timestep_s = 0.03", (), "does not divide the control period"),
        (
            "timestep_s = 0.01",
            ("--observation", "cloud", "--cloud.points", "1", "--cloud.hand"),
            "cannot be shared out",
        ),
        ('engine = "physx"\n[joints.frame]\nepisode = 1', (), "mine.toml"),
    ],
)
def test_a_scene_that_cannot_be_is_refused_before_a_run_exists(
    lines: str, options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'name = "mine"\n[physics]\n{lines}\n')
    assert message in failure(
        capsys, "--recipe", "debug", "collect", "--world", "mine.toml", *options, "--out", "new"
    )
    assert not Path("new").exists()
