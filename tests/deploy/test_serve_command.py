"""`score serve`: the API key, warnings, and an orderly end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from score_client import ClientConfig, PolicyClient, PolicyUnavailable
from served import ToyServed

from score_rl.cli import main as cli
from score_rl.cli import serve
from score_rl.cli.serve import Serve, exposure
from score_rl.core.access import API_KEY_VARIABLE, read_api_key
from score_rl.core.errors import ScoreError
from score_rl.deploy.server.config import ServerConfig

KEY = "0123456789abcdef"


def test_the_key_comes_from_the_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert read_api_key(None) is None
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    assert read_api_key(None) == KEY
    file = tmp_path / "key"
    file.write_text(f"{KEY}-of-the-file\nmore\n")
    assert read_api_key(file) == f"{KEY}-of-the-file"
    with pytest.raises(ScoreError, match="cannot read the API key"):
        read_api_key(tmp_path / "nowhere")


@pytest.mark.parametrize("key", ["", "short", "0123456789 abcdef", "0123456789abcdéf"])
def test_weak_keys_are_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(ScoreError, match="at least 16 printable ASCII characters") as error:
        read_api_key(None)
    assert not key or key not in str(error.value)


def test_an_open_door_is_pointed_out() -> None:
    assert {exposure(host, None, False) for host in ("127.0.0.1", "::1", "localhost")} == {None}
    assert exposure("0.0.0.0", KEY, True) is None
    assert "lacks an API key and TLS" in (exposure("0.0.0.0", None, False) or "")
    assert "lacks TLS" in (exposure("192.168.1.5", KEY, False) or "")
    assert "every address of this machine" in (exposure("", None, True) or "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no bundle"),
        (["nowhere", "--threads", "0"], "threads is 0"),
        (["nowhere", "--port", "-1"], "port is -1"),
        (["nowhere", "--tls-key", "key.pem"], "both tls_certificate and tls_key"),
        (["nowhere", "--api-key-file", "nokey"], "cannot read the API key in nokey"),
    ],
)
def test_bad_input_is_one_clear_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert cli.main(["serve", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve.torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(serve, "load_bundle", lambda path, deterministic: ToyServed())
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    found: list[float] = []

    def robot() -> None:
        uri = f"ws://127.0.0.1:{port}"
        with PolicyClient(ClientConfig(uri, api_key=KEY, decide_timeout_s=5.0)) as client:
            client.observe({"state": np.array([3.0, 0.0]), "command": np.zeros(1)})
            found.append(float(client.decide().actions[0, 0]))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as page:
                found.append(page.status)
            os.kill(os.getpid(), number)
            time.sleep(0.3)
            with pytest.raises(PolicyUnavailable):
                client.decide(timeout_s=0.3)

    port = free_port()
    thread = threading.Thread(target=robot)
    thread.start()
    Serve(Path("bundle"), ServerConfig(port=port)).run()
    thread.join(10)
    assert found == [3.0, 200]
    said = " ".join(capsys.readouterr().err.split())
    assert f"serving bundle on ws://127.0.0.1:{port}" in said and "stopped: 1 decisions, 0 refusals" in said


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
