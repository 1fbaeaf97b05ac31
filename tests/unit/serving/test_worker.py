"""What is submitted is answered in turns, each as it is alone; whoever is late, gone or too many is told so."""

import pytest
import serving_folders as folders
from mixing import RANKS

from scrimp.serving.continuous import Wish
from scrimp.serving.hosting import gather
from scrimp.serving.replies import Reply
from scrimp.serving.worker import Answered, Busy, Call, Ended, Failed, Generation, Late, Piece, Stopping, Worker
from scrimp.signals.decoding import generate


@pytest.fixture(scope="module")
def models(tmp_path_factory, causal_folder):
    folder = folders.make(tmp_path_factory.mktemp("served"), causal_folder)
    return gather(folder, base=str(causal_folder), dtype="float32", rows=3, context=64)


class Hour:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hour()


@pytest.fixture
def worker(models, clock):
    yield (made := Worker([models["bare"].host, models["dora"].host], queue=8, clock=clock))
    for batch in made._batches.values():
        batch.clear()


def asked(models, name, prompt, most=6, *, answers=1, told=None, deadline=100.0, stops=(), temperature=0.0):
    served = models[name]
    wishes = [Wish(prompt, most, served.adapter, temperature, 1.0, seed) for seed in range(answers)]
    return Generation(told.append, deadline, served.host, wishes, stops)


def finish(worker):
    for _ in range(200):
        if not worker.turn():
            return
    raise AssertionError("it does not end")


def texts(told, answers=1):
    return ["".join(e.text for e in told if isinstance(e, Piece | Ended) and e.answer == i) for i in range(answers)]


def test_more_answers_than_places_are_all_those_of_single_runs(models, worker, causal_folder):
    names, jobs = ["bare", "dora", *RANKS], []
    for i in range(8):
        told = []
        worker.submit(asked(models, names[i % 5], [5 + i, 9], told=told))
        jobs.append((names[i % 5], [5 + i, 9], told))
    assert worker.waiting == 8
    finish(worker)
    for name, prompt, told in jobs:
        host = models[name].host
        with host.under(models[name].adapter):
            alone = generate(host.loaded, [prompt], max_new_tokens=6)[0]
        assert texts(told) == [host.loaded.tokenizer.decode(alone, skip_special_tokens=True)]
        assert isinstance(told[-1], Ended)
        assert told[-1].tokens == len(alone)
    assert (worker.waiting, worker.active, worker.cache_bytes) == (0, 0, 0)
    assert worker.tally.prompt_tokens == 16
    assert worker.tally.step_rows > worker.tally.steps, "rows were decoded together"


def test_a_full_queue_and_a_stopped_worker_take_nothing(models, worker):
    told = []
    worker.submit(asked(models, "bare", [5], answers=8, told=told))
    with pytest.raises(Busy):
        worker.submit(asked(models, "bare", [5], told=[]))
    finish(worker)
    assert sum(isinstance(event, Ended) for event in told) == 8
    worker._stopping = True
    with pytest.raises(Stopping):
        worker.submit(asked(models, "bare", [5], told=[]))


def test_who_is_refused_is_told_when_there_may_be_room(models, worker, clock):
    def refused(answers):
        with pytest.raises(Busy) as caught:
            worker.submit(asked(models, "bare", [5], answers=answers, told=[]))
        return caught.value.after_s

    assert refused(9) == 1.0, "nothing is known yet"
    worker.submit(asked(models, "bare", [5], 40, answers=3, told=[]))
    worker.turn()  # three places are free again at 0
    worker.submit(asked(models, "bare", [5], 40, answers=8, told=[]))
    clock.now = 6.0
    assert (refused(1), refused(4)) == (2.0, 8.0), "three places in six seconds"


def test_whoever_is_late_is_told_once_and_gives_up_his_place(models, worker, clock):
    running, waiting, other = [], [], []
    worker.submit(asked(models, "bare", [5], 40, answers=3, told=running, deadline=1.0))
    worker.submit(asked(models, "bare", [6], 40, told=waiting, deadline=1.0))
    worker.submit(asked(models, "bare", [7], 3, told=other))
    worker.turn()
    clock.now = 2.0
    finish(worker)
    for told in (running, waiting):
        assert [type(event.error) for event in told if isinstance(event, Failed)] == [Late]
    assert isinstance(other[-1], Ended)


def test_whoever_has_gone_gives_up_his_place(models, worker):
    told, job = [], None
    job = asked(models, "bare", [5], 40, answers=3, told=told)
    worker.submit(job)
    worker.turn()
    assert worker.active == 3
    job.over = True
    worker.turn()
    assert (worker.active, worker.cache_bytes) == (0, 0)


def test_a_stop_text_ends_an_answer_before_itself(models, worker):
    whole = []
    worker.submit(asked(models, "bare", [5, 6], 12, told=whole))
    finish(worker)
    text = texts(whole)[0]
    stop, told = text[5:8], []
    worker.submit(asked(models, "bare", [5, 6], 12, told=told, stops=(stop,)))
    finish(worker)
    assert texts(told) == [text[:text.index(stop)]]
    assert told[-1].reason == "stop"


def test_a_failing_model_fails_its_own_rows_and_goes_on_afterwards(models, worker, monkeypatch):
    bad, good, host = [], [], models["bare"].host
    worker.submit(asked(models, "bare", [5], told=bad))
    worker.submit(asked(models, "dora", [5], told=good))
    with monkeypatch.context() as patched:
        patched.setattr(type(host.batch), "step", lambda self: 1 / 0 if self is host.batch else [])
        worker.turn()
    assert [type(event.error) for event in bad if isinstance(event, Failed)] == [ZeroDivisionError]
    finish(worker)
    assert isinstance(good[-1], Ended)
    again = []
    worker.submit(asked(models, "bare", [5], told=again))
    finish(worker)
    assert isinstance(again[-1], Ended)


def test_calls_of_one_kind_are_computed_together_in_parts(worker):
    seen, told = [], [[], [], []]

    def compute(rows):
        seen.append(list(rows))
        return [row * 2 for row in rows]

    for key, rows, mine in (("a", range(20), told[0]), ("b", [7], told[1]), ("a", [100], told[2])):
        worker.submit(Call(mine.append, 100.0, key, compute, list(rows)))
    finish(worker)
    assert [event.results for mine in told for event in mine if isinstance(event, Answered)] == \
        [[2 * i for i in range(20)], [14], [200]]
    assert seen == [[*range(16)], [16, 17, 18, 19, 100], [7]]


def test_a_failing_call_tells_so(worker):
    told = []
    worker.submit(Call(told.append, 100.0, "a", lambda rows: 1 / 0, [1]))
    finish(worker)
    assert [type(event.error) for event in told] == [ZeroDivisionError]


def test_a_stop_finishes_what_was_begun(models):
    worker, told = Worker([models["bare"].host], queue=8), []
    worker.start()
    worker.submit(asked(models, "bare", [5], 20, told=told, deadline=float("inf")))
    assert worker.stop(wait_s=60)
    assert isinstance(told[-1], Ended)


@pytest.mark.parametrize("text", ["plain words", "naïve 😀 שלום end", "a\n\n  b", "😀" * 4])
@pytest.mark.parametrize("stops", [(), ("זזז",), ("e",), ("😀😀", " end")])
def test_pieces_of_a_reply_are_its_text_up_to_the_first_stop(models, text, stops):
    tokenizer = models["bare"].host.loaded.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    reply, pieces = Reply(tokenizer, stops), []
    for token in ids:
        pieces.append(reply.add(token))
        if reply.stopped:
            break
    pieces.append(reply.end())
    cut = min([at for stop in stops if (at := text.find(stop)) >= 0], default=len(text))
    assert "".join(pieces) == reply.text == text[:cut]
    assert reply.stopped == (cut < len(text))
