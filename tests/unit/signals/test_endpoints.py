"""An endpoint that is busy, breaks down, hangs, babbles or tells keys; and what was answered stays answered."""

import json
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from itertools import pairwise

import pytest
from chatserver import Server, echo, said

from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError, ModelError, OptionError, Stopped
from scrimp.core.workspace import Workspace
from scrimp.signals.endpoints import Endpoint
from scrimp.signals.generations import Generations, SamplingOptions

KEY = "sk-not-to-be-seen-anywhere"
PROMPTS = [f"prompt {i}" for i in range(12)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def endpoint(server, **options):
    return Endpoint(url=server.url, model="tiny", **{"wait": 0.01, "timeout": 5, "tries": 3, **options})


def once(*first):
    """These answers to the first requests, and then proper ones."""
    return lambda number, asked: first[number] if number < len(first) else echo(number, asked)


def test_prompts_are_answered_in_order_some_at_a_time_and_billed():
    def slow(number, asked):
        time.sleep(0.05)
        return echo(number, asked)

    meter = Meter()
    with Server(slow) as server:
        found = Generations(endpoint(server, concurrency=3), SamplingOptions(temperature=0.5, max_tokens=9),
                            meter=meter)(PROMPTS)
    assert found == [f"<{prompt}>" for prompt in PROMPTS]
    assert server.most == 3
    assert (meter.bill().teacher_prompt_tokens, meter.bill().teacher_completion_tokens) == (84, 36)
    sent = server.asked[0]
    assert (sent["model"], sent["temperature"], sent["top_p"], sent["max_tokens"]) == ("tiny", 0.5, 1.0, 9)
    assert sent["headers"]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("fault", [(429, b"slow down", {}), (500, b"", {}), (503, b"<html>", {}),
                                   (200, b'{"cho', {"Content-Length": "100"})])
def test_what_passes_is_waited_out(fault):
    with Server(once(fault, fault)) as server:
        assert Generations(endpoint(server))(["a"]) == ["<a>"]
    assert len(server.asked) == 3
    with Server(lambda *_: fault) as server, pytest.raises(ModelError, match="does not answer") as caught:
        Generations(endpoint(server))(["a"])
    assert len(server.asked) == 3 and "3 tries" in caught.value.why


@pytest.mark.parametrize("after", ["1", "date"])
def test_a_server_may_say_how_long_to_wait(after):
    value = formatdate(time.time() + 2, usegmt=True) if after == "date" else after
    with Server(once((429, b"", {"Retry-After": value}))) as server:
        assert Generations(endpoint(server))(["a"]) == ["<a>"]
    assert 0.9 < server.asked[1]["at"] - server.asked[0]["at"] < 4
    with Server(once((429, b"", {"Retry-After": "3600"}))) as server, pytest.raises(ModelError, match="wait 3600 s"):
        Generations(endpoint(server))(["a"])
    assert len(server.asked) == 1


def test_waits_are_doubled():
    with Server(once(*[(503, b"", {})] * 3)) as server:
        Generations(endpoint(server, tries=4, wait=0.2))(["a"])
    at = [one["at"] for one in server.asked]
    waits = [b - a for a, b in pairwise(at)]
    assert all(wait >= 0.1 * 2**i for i, wait in enumerate(waits)) and sum(waits) < 3


def test_a_silent_server_and_one_that_drips_are_given_up():
    def hangs(number, asked):
        time.sleep(1.5)
        return echo(number, asked)

    def dripping():
        for _ in range(100):
            time.sleep(0.02)
            yield b" "

    for behave in (hangs, lambda *_: (200, dripping(), {"Content-Length": "100"})):
        with Server(behave) as server, pytest.raises(ModelError, match="does not answer"):
            Generations(endpoint(server, timeout=0.2, tries=2))(["a"])
        assert len(server.asked) == 2 and server.asked[1]["at"] - server.asked[0]["at"] < 1
    with pytest.raises(ModelError, match="does not answer"):
        Generations(endpoint(server, tries=2))(["a"])  # nobody listens there now


@pytest.mark.parametrize(("answer", "told"), [
    ((200, b"\x00garbage", {}), "no answer"), ((200, b"[]", {}), "no answer"), (said({"a": 1}), "no answer"),
    ((200, b'{"choices": []}', {}), "no answer"), ((200, b"[" * 100_000, {}), "no answer"),
    ((404, b'{"error": {"message": "no such model"}}', {}), "no such model"), ((401, b"who?", {}), "OPENAI_API_KEY"),
    ((302, b"", {"Location": "http://127.0.0.1:1/"}), "elsewhere"), ((200, b"x" * 300_000, {}), "larger than 200000")])
def test_what_is_no_answer_is_told_and_asked_once(answer, told):
    with Server(lambda *_: answer) as server, pytest.raises(ModelError, match=told):
        Generations(endpoint(server, most_bytes=200_000))(["a"])
    assert len(server.asked) == 1


def test_a_refusal_is_an_empty_text_and_tokens_that_are_not_told_are_bytes():
    meter = Meter()
    with Server(lambda *_: (200, b'{"choices": [{"message": {"content": null}}]}', {})) as server:
        assert Generations(endpoint(server), meter=meter)(["äb"]) == [""]
    assert (meter.bill().teacher_prompt_tokens, meter.bill().teacher_completion_tokens) == (3, 0)


@pytest.mark.parametrize("behave", [
    lambda *_: said(f"your key is {KEY}"), lambda *_: (400, f"bad key {KEY}".encode(), {}),
    lambda *_: (401, json.dumps({"error": {"message": f"bad {KEY}"}}).encode(), {}),
    lambda *_: (500, KEY.encode(), {}), lambda *_: (200, KEY.encode(), {})])
def test_the_key_is_nowhere(behave, tmp_path):
    with Server(behave) as server:
        asking = endpoint(server, tries=1)
        try:
            told = Generations(asking, workspace=Workspace(tmp_path))(["a"])[0]
        except ModelError as error:
            told = error.told()
    assert "***" in told
    everything = told + repr(asking) + "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in everything
    assert server.asked[0]["headers"]["Authorization"] == f"Bearer {KEY}"


def test_bad_addresses_and_keys_are_refused_unseen(monkeypatch):
    for url in ("ftp://host/v1", "host/v1", "https://me:secret@host/v1", "https://host/v1?key=secret"):
        with pytest.raises(OptionError) as caught:
            Endpoint.parse({"url": url, "model": "m"})
        assert "secret" not in caught.value.told()
    monkeypatch.setenv("OPENAI_API_KEY", "secret\nkey")
    with pytest.raises(OptionError, match="OPENAI_API_KEY") as caught:
        Generations(Endpoint(url="http://127.0.0.1:1", model="m"))(["a"])
    assert "secret" not in caught.value.told()


def test_fields_may_be_added_left_out_and_belong_to_the_question(tmp_path):
    with Server() as server:
        for more in ({}, {"max_tokens": None, "max_completion_tokens": 5}):
            Generations(endpoint(server, more=more), workspace=Workspace(tmp_path))(["a"])
    assert "max_tokens" in server.asked[0]
    assert server.asked[1].get("max_completion_tokens") == 5 and "max_tokens" not in server.asked[1]


def test_a_mistake_of_one_prompt_keeps_the_answers_of_the_others(tmp_path):
    def picky(number, asked):
        return (400, b"not this", {}) if asked["messages"][0]["content"] == PROMPTS[5] else echo(number, asked)

    with Server(picky) as server:
        asking = Generations(endpoint(server, concurrency=2), workspace=Workspace(tmp_path))
        with pytest.raises(ModelError, match="not this") as caught:
            asking(PROMPTS)
        assert PROMPTS[5] in caught.value.why
        answered = [text is not None for text in asking.known(PROMPTS)]
        assert all(answered[:5]) and not answered[5]


def test_the_budget_is_never_passed_and_a_larger_one_continues(tmp_path):
    first, second = Meter(Budget(teacher_tokens=400)), Meter(Budget(teacher_tokens=10_000))
    sampling = SamplingOptions(max_tokens=20)
    with Server(lambda number, asked: said("x", prompt=40, completion=20)) as server:
        asking = Generations(endpoint(server), sampling, workspace=Workspace(tmp_path), meter=first)
        with pytest.raises(BudgetError, match=r"of 12 prompts are not answered"):
            asking(PROMPTS)
        spent, answered = first.teacher_tokens_left(), sum(text is not None for text in asking.known(PROMPTS))
        assert 400 - spent == 60 * answered <= 400 and spent < 8 + 64 + 20 + 1 and len(server.asked) == answered
        assert Generations(endpoint(server), sampling, workspace=Workspace(tmp_path), meter=second)(PROMPTS)
    assert len(server.asked) == 12 and second.bill().teacher_prompt_tokens == 40 * (12 - answered)


def test_a_person_who_stops_keeps_what_was_under_way(tmp_path, monkeypatch):
    with Server() as server:
        asking = Generations(endpoint(server, concurrency=2), workspace=Workspace(tmp_path))
        monkeypatch.setattr("scrimp.core.interrupts.stop_requested", lambda: len(server.asked) >= 4)
        with pytest.raises(Stopped):
            asking(PROMPTS)
        assert sum(text is not None for text in asking.known(PROMPTS)) == len(server.asked) < 12


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path):
    code = f"""
import sys
from pathlib import Path
from scrimp.core.workspace import Workspace
from scrimp.signals.endpoints import Endpoint
from scrimp.signals.generations import Generations
asking = Endpoint(url=sys.argv[1], model="tiny", concurrency=1)
print(len(Generations(asking, workspace=Workspace(Path(sys.argv[2])))({PROMPTS!r})))
"""

    def slow(number, asked):
        if number == 6:  # in the middle of the seventh
            os.kill(started.pid, signal.SIGKILL)
        return echo(number, asked)

    with Server(slow) as server:
        command = [sys.executable, "-c", code, server.url, str(tmp_path)]
        started = subprocess.Popen(command)
        assert started.wait(60) == -signal.SIGKILL
        assert server.prompts == PROMPTS[:7]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "12"
    assert server.prompts == PROMPTS[:7] + PROMPTS[6:]
