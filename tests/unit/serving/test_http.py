"""The endpoint as clients see it: the real OpenAI client, raw requests, and everything that is refused."""

import json
import socket
import threading
import time
from functools import partial

import httpx
import openai
import pytest
import serving_folders as folders
from httpserver import running
from mixing import RANKS

from scrimp.serving.hosting import gather
from scrimp.serving.http.gate import Limits
from scrimp.signals.decoding import generate

KEY = "a-key-that-is-long-enough"
post, get, delete = (partial(ask, timeout=300) for ask in (httpx.post, httpx.get, httpx.delete))
HELLO = [{"role": "user", "content": "what a good film"}]


@pytest.fixture(scope="module")
def models(tmp_path_factory, causal_folder):
    folder = folders.make(tmp_path_factory.mktemp("served"), causal_folder)
    return gather(folder, base=str(causal_folder), dtype="float32", rows=4, context=256)


@pytest.fixture(scope="module")
def url(models):
    with running(models, limits=Limits(body_bytes=20_000, new_tokens=200)) as (address, _):
        yield address


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def alone(models, name, ids, most, ends=frozenset()):
    served = models[name]
    with served.host.under(served.adapter):
        made = generate(served.host.loaded, [ids], max_new_tokens=most, stop=sorted(ends))[0]
    return served.host.loaded.tokenizer.decode(made, skip_special_tokens=True)


def test_a_tuned_model_is_asked_as_it_was_trained(client, models, folder_of_sums):
    told = client.chat.completions.create(model="sums", temperature=0, max_tokens=8,
                                          messages=[{"role": "user", "content": "1 + 2 ="}])
    predictor = folder_of_sums
    predictor._max_new_tokens = 8
    assert told.choices[0].message.content == predictor.predict([{"prompt": "1 + 2 ="}])[0]["text"]
    assert told.usage.completion_tokens <= 8
    assert told.choices[0].finish_reason in ("stop", "length")


@pytest.fixture(scope="module")
def folder_of_sums(tmp_path_factory, causal_folder):
    folder = folders.make(tmp_path_factory.mktemp("again"), causal_folder)
    return folders.predictor(folder, "sums")


@pytest.mark.parametrize("name", ["bare", *RANKS])
def test_a_stream_says_what_the_whole_answer_says(client, name):
    asked = {"model": name, "messages": HELLO, "temperature": 0.7, "seed": 4, "n": 2, "max_tokens": 9}
    whole = client.chat.completions.create(**asked)
    texts, reasons, usage = ["", ""], {}, None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason
        usage = chunk.usage or usage
    assert texts == [choice.message.content for choice in whole.choices]
    assert [reasons[0], reasons[1]] == [choice.finish_reason for choice in whole.choices]
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert texts[0] != texts[1], "two answers have two seeds"


def test_texts_go_on_as_they_do_alone_under_each_adapter_at_once(client, models):
    found, names = {}, ["bare", "dora", *RANKS]

    def ask(name):
        found[name] = client.completions.create(model=name, prompt=["what a", "one two three"], temperature=0,
                                                max_tokens=10)

    threads = [threading.Thread(target=ask, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for name in names:
        tokenizer = models[name].host.loaded.tokenizer
        for text, choice in zip(["what a", "one two three"], found[name].choices, strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert choice.text == alone(models, name, ids, 10)
    stream = client.completions.create(model="bare", prompt="what a", temperature=0, max_tokens=10, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == found["bare"].choices[0].text


def test_stop_texts_and_seeds_are_kept_to(client):
    asked = {"model": "bare", "messages": HELLO, "seed": 1, "max_tokens": 20}
    first, second = (client.chat.completions.create(**asked).choices[0].message.content for _ in range(2))
    assert first == second
    stop = first[4:6]
    cut = client.chat.completions.create(**asked, stop=[stop]).choices[0]
    assert cut.message.content == first[:first.index(stop)]
    assert cut.finish_reason == "stop"


def test_vectors_are_those_of_the_model_in_both_encodings(client, models):
    texts = ["what a good film", "I hated it"]
    expected = models["sums"].embed(texts, 64)
    for encoding in ({}, {"encoding_format": "float"}):  # the client asks for base64 by itself
        found = client.embeddings.create(model="sums", input=texts, **encoding)
        for one, vector in zip(found.data, expected, strict=True):
            assert one.embedding == pytest.approx(vector, abs=1e-5)
    assert found.usage.prompt_tokens > 0


def test_labels_come_with_all_probabilities(url, models):
    found = post(f"{url}/v1/classify", json={"model": "films", "input": ["a good film", "a bad film"]}).json()
    for one, expected in zip(found["data"], models["films"].classify(["a good film", "a bad film"]), strict=True):
        assert one["label"] == expected["label"]
        assert one["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_models_say_what_can_be_asked_of_them(client, models):
    cards = {card.id: card.model_extra["can"] for card in client.models.list()}
    assert set(cards) == set(models)
    assert cards["films"] == ["embeddings", "classify"]
    assert client.models.retrieve("words").model_extra["labels"] == ["negative", "positive"]


REFUSED = {
    "unknown model": ("chat/completions", {"model": "sum", "messages": HELLO}, 404, "did you mean 'sums'"),
    "a path as a name": ("chat/completions", {"model": "../sums", "messages": HELLO}, 404, "no model"),
    "an unknown key": ("chat/completions", {"model": "sums", "messages": HELLO, "top_k": 4}, 400, "top_k"),
    "a wrong type": ("chat/completions", {"model": "sums", "messages": HELLO, "max_tokens": "4"}, 400, "max_tokens"),
    "a temperature too high": ("chat/completions", {"model": "sums", "messages": HELLO, "temperature": 3}, 400, "2"),
    "no messages": ("chat/completions", {"model": "sums", "messages": []}, 400, "messages"),
    "an answer last": ("chat/completions", {"model": "sums", "messages": [
        *HELLO, {"role": "assistant", "content": "yes"}]}, 400, "must be the user's"),
    "too many answers": ("chat/completions", {"model": "sums", "messages": HELLO, "n": 9}, 400, "n"),
    "too many answers of several": ("completions", {"model": "bare", "prompt": ["a", "b"], "n": 5}, 400, "8 answers"),
    "too many tokens": ("chat/completions", {"model": "sums", "messages": HELLO, "max_tokens": 201}, 400, "200"),
    "too long a prompt": ("completions", {"model": "bare", "prompt": "one " * 400}, 400, "in all"),
    "a prompt of nothing": ("completions", {"model": "bare", "prompt": ""}, 400, "prompt"),
    "text of a classifier": ("completions", {"model": "films", "prompt": "a"}, 400, "classify"),
    "labels of a writer": ("classify", {"model": "sums", "input": "a"}, 400, "no labels"),
    "vectors of words": ("embeddings", {"model": "words", "input": "a"}, 400, "embed"),
    "too long a text": ("embeddings", {"model": "bare", "input": "one " * 2000}, 400, "reads"),
    "a penalty": ("completions", {"model": "bare", "prompt": "a", "presence_penalty": 1}, 400, "presence_penalty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_openais_shape(url, case):
    path, body, status, words = REFUSED[case]
    found = post(f"{url}/v1/{path}", json=body)
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]


@pytest.mark.parametrize(("given", "status"), [
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"[" * 15_000, "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 400),
    ({"content": b'{"model": "\\ud800"}', "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
    ({"content": b" " * 30_000, "headers": {"content-type": "application/json"}}, 413),
    ({"content": iter([b" " * 15_000] * 2), "headers": {"content-type": "application/json"}}, 413),
    ({"json": {}, "headers": {"host": "evil.example"}}, 403)])
def test_bodies_and_hosts_are_held_in_bounds(url, given, status):
    found = post(f"{url}/v1/completions", **given)
    assert found.status_code == status
    assert found.json()["error"]["message"]


def test_other_paths_and_methods_have_errors_of_the_same_shape(url):
    assert (get(f"{url}/v1/none").status_code, get(f"{url}/v1/none").json()["error"]["code"]) == (404, None)
    assert delete(f"{url}/v1/models").status_code == 405


@pytest.mark.parametrize("target", ["hf://x/y", "http://elsewhere/y", "//x/y", "*"])
def test_a_target_of_another_form_is_refused_as_any_path_that_is_not_there(url, target):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert json.loads(body)["error"]["message"]


def test_the_openai_client_understands_errors(client):
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.chat.completions.create(model="none", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.chat.completions.create(model="sums", messages=HELLO, max_tokens=0)


def test_a_key_is_asked_for_everywhere_but_for_health(models):
    with running(models, key=KEY) as (url, _):
        assert get(f"{url}/health").status_code == 200
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {KEY}x"},
                       {"authorization": KEY[:-1]}):
            for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/none"):
                found = get(url + path, headers=header)
                assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            assert len(client.models.list().data) == len(models)


def until(condition):
    for _ in range(4000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come about")


def slowly(models, monkeypatch):
    """After five tokens every step of the shared model waits until it is allowed."""
    batch, allowed = models["bare"].host.batch, threading.Event()
    whole = type(batch).step

    def step(self):
        if self is batch and any(len(row.made) > 4 for row in self.active):
            allowed.wait(300)
        return whole(self)

    monkeypatch.setattr(type(batch), "step", step)
    return allowed


def test_a_full_queue_is_told_with_the_time_to_come_back(models, monkeypatch):
    allowed, answers = slowly(models, monkeypatch), []
    asked = {"model": "bare", "prompt": "what a", "max_tokens": 30, "n": 4, "temperature": 0}
    with running(models, queue=4) as (url, worker):
        threads = []
        for active, waiting in ((4, 0), (4, 4)):
            threads.append(threading.Thread(target=lambda: answers.append(post(
                f"{url}/v1/completions", json=asked))))
            threads[-1].start()
            until(lambda: (worker.active, worker.waiting) == (active, waiting))  # noqa: B023
        refused = post(f"{url}/v1/completions", json={**asked, "n": 1})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        page = get(f"{url}/metrics").text
        assert "scrimp_active_rows 4" in page
        assert "scrimp_waiting 4" in page
        allowed.set()
        for thread in threads:
            thread.join(300)
        assert [answer.status_code for answer in answers] == [200, 200]
        page = get(f"{url}/metrics").text
        assert 'scrimp_requests_total{path="/v1/completions",status="429"} 1' in page
        assert "scrimp_first_token_seconds_count 2" in page


@pytest.mark.parametrize("stream", [True, False])
def test_whoever_leaves_frees_the_place(models, monkeypatch, stream):
    allowed = slowly(models, monkeypatch)
    body = json.dumps({"model": "bare", "prompt": "what a", "max_tokens": 200, "stream": stream,
                       "temperature": 0}).encode()
    with running(models) as (url, worker):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            until(lambda: worker.active == 1)
            if stream:
                assert raw.recv(100).startswith(b"HTTP/1.1 200")
            job = next(iter(worker._running.values())).job
        until(lambda: job.over)
        allowed.set()
        until(lambda: worker.active == 0)
        assert worker.cache_bytes == 0


def test_an_answer_that_takes_too_long_is_told_so(models, monkeypatch):
    asked = {"model": "bare", "prompt": "what a", "max_tokens": 200, "temperature": 0}
    with running(models, limits=Limits(answer_s=1e-9)) as (url, worker):
        for stream in (True, False):  # it has not begun, so it can still be said by the status
            found = post(f"{url}/v1/completions", json={**asked, "stream": stream})
            assert (found.status_code, found.json()["error"]["code"]) == (504, "timeout")
    allowed, answers = slowly(models, monkeypatch), []
    with running(models) as (url, worker):
        thread = threading.Thread(target=lambda: answers.append(post(
            f"{url}/v1/completions", json={**asked, "stream": True})))
        thread.start()
        until(lambda: any(len(row.made) > 4 for row in list(worker._running)))  # it has said something
        next(iter(worker._running.values())).job.deadline = 0.0
        allowed.set()
        thread.join(300)
    assert '"code": "timeout"' in answers[0].text.splitlines()[-2]
    assert "[DONE]" not in answers[0].text


def test_a_body_that_does_not_arrive_is_not_waited_for(models):
    with running(models, limits=Limits(body_s=0.2)) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: 100\r\n\r\n{")
            assert raw.recv(100).startswith(b"HTTP/1.1 408")


def test_a_failure_of_ours_tells_nothing_of_itself(models, monkeypatch):
    monkeypatch.setattr(type(models["bare"].host.batch), "step", lambda self: 1 / 0 if self.active else [])
    with running(models) as (url, _):
        found = post(f"{url}/v1/completions", json={"model": "bare", "prompt": "a", "max_tokens": 9})
        assert found.status_code == 500
        assert "ZeroDivision" not in found.text
        assert found.json()["error"]["code"] == "internal"
