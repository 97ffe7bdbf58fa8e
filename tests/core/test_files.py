import dataclasses
import enum
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from score_rl.core import files
from score_rl.core.errors import ScoreError
from score_rl.core.files import (
    JsonLines,
    previous_folder,
    replace_folder,
    require_free_space,
    restore_folder,
    sha256,
    to_plain,
    write_bytes,
    write_json,
    write_text,
)
from score_rl.core.records import read_json, read_json_lines


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Inner:
    path: Path = Path("a/b")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    pair: tuple[int, float] = (1, 2.5)


def test_to_plain_resolves_everything_that_a_config_or_metric_may_hold():
    value = {"c": Outer(), "n": np.float32(0.5), "t": torch.tensor([1, 2]), "e": Colour.RED, "b": np.True_}
    assert to_plain(value) == {
        "c": {"inner": {"path": "a/b"}, "pair": [1, 2.5]},
        "n": 0.5,
        "t": [1, 2],
        "e": "RED",
        "b": True,
    }
    assert to_plain([float("nan"), float("inf"), None]) == [None, None, None]
    with pytest.raises(TypeError, match="object"):
        to_plain(object())


def test_json_round_trip_creates_folders(tmp_path):
    path = tmp_path / "new" / "x.json"
    write_json(path, {"a": [1, "ä"]})
    assert read_json(path) == {"a": [1, "ä"]}
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_intact(tmp_path, monkeypatch, failing):
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, failing, full)
    with pytest.raises(ScoreError, match=r"cannot write .*x\.txt: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


def test_a_writer_killed_midway_leaves_the_old_file_intact(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    code = (
        "import os, signal\n"
        "from score_rl.core import files\n"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_text({str(path)!r}, 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]  # the killed writer's remains are gone


def test_write_into_a_file_as_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoreError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x", b"")


def test_a_link_stays_and_its_target_is_written(tmp_path):
    write_text(tmp_path / "target", "old")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_a_name_that_no_file_can_have_is_a_clear_error(tmp_path, name):
    with pytest.raises(ScoreError, match="cannot write"):
        write_text(tmp_path / name, "x")


def test_sha256_of_a_known_text(tmp_path):
    write_bytes(tmp_path / "abc", b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "abc") == expected
    with pytest.raises(ScoreError, match="cannot read"):
        sha256(tmp_path / "gone")


def test_require_free_space(tmp_path):
    require_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ScoreError, match=r"not enough disk space for .*yet"):
        require_free_space(tmp_path / "not" / "yet", 2**70)


def test_json_lines_append_read_and_truncate(tmp_path):
    log = JsonLines(tmp_path / "log.jsonl")
    for step in range(4):
        log.append({"step": step, "text": "zwölf\n"})
    assert len(log) == 4
    log.truncate_to(2)
    log.append({"step": 9})
    assert [record["step"] for record in log.read()] == [0, 1, 9]
    assert len(JsonLines(tmp_path / "log.jsonl")) == 3
    with pytest.raises(ScoreError, match="has 3 records, cannot keep the first 5"):
        log.truncate_to(5)


def test_json_lines_drops_a_torn_last_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a": ')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
    log = JsonLines(path)
    log.append({"a": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'


def folder_of(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "text").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = tmp_path / "here"
    replace_folder(folder_of(tmp_path / "one", "1"), path)
    assert (path / "text").read_text() == "1"
    folder_of(previous_folder(path), "0")  # of a process that was killed while it deleted this
    replace_folder(folder_of(tmp_path / "two", "2"), path)
    assert (path / "text").read_text() == "2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["here"]
    assert not restore_folder(path)


def test_an_error_between_the_renames_puts_the_old_folder_back(tmp_path):
    path = folder_of(tmp_path / "here", "1")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "nowhere", path)
    assert (path / "text").read_text() == "1" and [entry.name for entry in tmp_path.iterdir()] == ["here"]


def test_a_folder_is_restored_after_a_kill_between_the_renames(tmp_path):
    path = folder_of(tmp_path / "here", "1")
    folder_of(tmp_path / "new", "2")
    script = (
        "import os, signal\nfrom score_rl.core import files\nrename, calls = os.rename, []\n"
        "def second_is_fatal(*paths):\n"
        "    calls.append(paths)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 2 else rename(*paths)\n"
        "os.rename = second_is_fatal\nfiles.replace_folder('new', 'here')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == -9
    assert not path.exists() and (tmp_path / "new" / "text").exists()
    assert restore_folder(path) and not restore_folder(path)
    assert (path / "text").read_text() == "1" and not previous_folder(path).exists()
