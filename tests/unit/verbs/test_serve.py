"""scrimp serve as a process: it tells where it is, drains on SIGTERM, and refuses what it cannot do."""

import os
import re
import signal
import subprocess
import sys
import threading

import httpx
import pytest
import serving_folders as folders

from scrimp.core.errors import OptionError
from scrimp.verbs import Serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory, causal_folder):
    return folders.make(tmp_path_factory.mktemp("served"), causal_folder) / "sums"


def test_it_answers_until_it_is_told_to_stop_and_finishes_what_was_begun(folder):
    command = [sys.executable, "-m", "scrimp", "serve", str(folder), "--port", "0", "--dtype", "float32",
               "--context", "512", "--max-tokens", "400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "COLUMNS": "1000"}) as process:
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        try:
            told = next(line for line in process.stderr if line.startswith("serving"))
            url = re.search(r"http://127\.0\.0\.1:\d+", told)[0]
            assert "sums" in told
            asked = {"model": "sums", "prompt": "1 + 2", "max_tokens": 400, "stream": True, "temperature": 1.5, "n": 8}
            with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=120) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                rest = list(lines)
            assert "data: [DONE]" in rest
            assert sum('"finish_reason": "length"' in line or '"finish_reason": "stop"' in line for line in rest) == 8
            assert process.wait(120) == 0
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health")
            assert "stopped serving" in process.stdout.read()
            assert "Traceback" not in process.stderr.read()
        finally:
            watchdog.cancel()
            process.kill()


def test_others_than_this_machine_need_a_key(folder, monkeypatch):
    with pytest.raises(OptionError, match="without a key"):
        Serve.ask(folder=folder, host="0.0.0.0")
    monkeypatch.setenv("OUR_KEY", "short")
    with pytest.raises(OptionError, match="16 printable"):
        Serve.ask(folder=folder, host="0.0.0.0", api_key_env="OUR_KEY")
    monkeypatch.delenv("OUR_KEY")
    with pytest.raises(OptionError, match="OUR_KEY"):
        Serve.ask(folder=folder, api_key_env="OUR_KEY")


def test_it_listens_to_this_machine_unless_told_otherwise(tmp_path, monkeypatch):
    from scrimp.serving.http import running

    def listening(host, port):
        raise OptionError(f"asked to listen at {host}")

    monkeypatch.setattr(running, "listening", listening)
    with pytest.raises(OptionError, match=r"asked to listen at 127\.0\.0\.1"):
        Serve.ask(folder=tmp_path)


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(tmp_path):
    from scrimp.serving.http.running import listening

    made, address = listening("127.0.0.1", 0)
    with made, pytest.raises(OptionError, match="cannot listen"):
        Serve.ask(folder=tmp_path / "missing", port=address.port)


def test_without_the_extra_it_says_what_to_install(folder, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("scrimp.serving.http", "fastapi", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(OptionError, match=r"scrimp\[serve\]"):
        Serve.ask(folder=folder)


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True),
                                             ("0.0.0.0", False), ("10.0.0.1", False), ("example.org", False)])
def test_which_addresses_are_this_machines_own(host, local):
    from scrimp.serving.http.gate import is_local

    assert is_local(host) is local
