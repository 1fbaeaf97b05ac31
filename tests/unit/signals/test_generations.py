"""Answers of a local model: addressed by what decides them, billed, kept, and used by a writer."""

import json
import re

import pytest
import torch
from chatserver import Server, said

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Budget, Meter
from scrimp.core.errors import BudgetError, DataError, ModelError, Stopped
from scrimp.core.workspace import Workspace
from scrimp.data.synthesis import Teacher
from scrimp.examples.formats import read
from scrimp.signals import Signals
from scrimp.signals.decoding import generate
from scrimp.signals.endpoints import Endpoint
from scrimp.signals.generations import Generations, LocalModel, SamplingOptions

SHORT = SamplingOptions(max_tokens=5)
DRAWN = SamplingOptions(max_tokens=5, temperature=1.0, seed=3)
PROMPTS = ["what a good film", "the quick brown fox", "one", "two three four five"]


@pytest.fixture
def loaded(causal_folder):
    return load(resolve(causal_folder), dtype="float32")


class Counted:
    """A speaker that says what it is asked and its seed, one after another."""

    def __init__(self, identity="counted"):
        self._identity, self.asked = identity, []

    def identity(self):
        return self._identity

    def most(self, prompt):
        return len(prompt)

    def ask(self, questions, sampling, tell):
        from scrimp.signals.generations import Answer

        for place, question in enumerate(questions):
            self.asked.append(question.prompt)
            tell({place: Answer(f"{question.prompt} {question.seed}", 2, 1)})


def test_answers_are_the_models_and_the_bill_has_their_tokens(loaded):
    meter = Meter()
    found = Signals(meter=meter).generations(PROMPTS, loaded, sampling=SHORT)
    ids = [loaded.tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                                return_dict=True)["input_ids"] for prompt in PROMPTS]
    made = [generate(loaded, [one], max_new_tokens=5)[0] for one in ids]
    assert found == [loaded.tokenizer.decode(one, skip_special_tokens=True) for one in made]
    bill = meter.bill()
    assert bill.teacher_prompt_tokens == sum(map(len, ids))
    assert bill.teacher_completion_tokens == sum(min(len(one) + 1, 5) for one in made)
    assert bill.tokens_forward > 0


def test_what_was_asked_is_not_asked_again_until_something_that_decides_changes(loaded, tmp_path):
    def tokens(prompts, sampling=SHORT):
        meter = Meter()
        Signals(workspace=Workspace(tmp_path), meter=meter).generations(prompts, loaded, sampling=sampling)
        return meter.bill().teacher_prompt_tokens

    first = tokens(PROMPTS)
    assert tokens(PROMPTS) == tokens(PROMPTS[::-1]) == tokens([]) == 0
    assert 0 < tokens([*PROMPTS, "new"]) < first / 2
    assert tokens(PROMPTS, SamplingOptions(max_tokens=5, seed=9, top_p=0.5)) == 0  # no draw is made
    assert tokens(PROMPTS, SamplingOptions(max_tokens=6)) == tokens(PROMPTS, DRAWN) == first
    assert tokens(PROMPTS, DRAWN.model_copy(update={"seed": 4})) == first
    with torch.no_grad():
        loaded.model.model.norm.weight[0] += 1
    assert tokens(PROMPTS) == first


def test_draws_follow_from_seed_prompt_and_number(loaded):
    asking = Generations(LocalModel(loaded, "w"), DRAWN)
    alone, thrice = asking(["one"]), asking(["one", "two", "one", "one"])
    assert thrice[0] == alone[0] and len({thrice[0], thrice[2], thrice[3]}) == 3
    assert Generations(LocalModel(loaded, "w"), DRAWN)(["one", "one", "one"]) == [thrice[i] for i in (0, 2, 3)]
    speaker = Counted()
    assert len(set(Generations(speaker, SHORT)(["a", "a"]))) == len(speaker.asked) == 1  # greedily, all are alike


def test_a_damaged_line_is_asked_again_and_odd_line_breaks_are_none(tmp_path):
    odd = ["a\u2028b", "c\x85d", "e\nf", "g\r\nh"]
    first = Generations(Counted(), SHORT, workspace=Workspace(tmp_path))(odd)
    speaker = Counted()
    assert Generations(speaker, SHORT, workspace=Workspace(tmp_path))(odd) == first and not speaker.asked
    (file,) = tmp_path.rglob("answers.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:-1], lines[-1][:20]]))
    assert Generations(speaker, SHORT, workspace=Workspace(tmp_path))([*odd, "i"])[:4] == first
    assert speaker.asked == ["g\r\nh", "i"]
    assert Generations(speaker, SHORT, workspace=Workspace(tmp_path))([*odd, "i"])[:4] == first
    assert len(speaker.asked) == 2


def test_two_that_take_turns_ask_each_prompt_once(tmp_path):
    speaker = Counted()
    one, two = (Generations(speaker, SHORT, workspace=Workspace(tmp_path)) for _ in range(2))
    one(["a"])
    two(["a", "b"])
    one(["b", "c"])
    assert speaker.asked == ["a", "b", "c"]


@pytest.mark.parametrize("nested", [False, True])
def test_the_budget_ends_it_and_what_was_answered_is_known(loaded, tmp_path, nested):
    own, outer = (Budget(), Budget(teacher_tokens=70)) if nested else (Budget(teacher_tokens=70), Budget())
    with Meter(outer).part(own) as meter:
        asking = Generations(LocalModel(loaded, "w"), SHORT, workspace=Workspace(tmp_path), meter=meter)
        with pytest.raises(BudgetError, match="of 4 prompts are not answered"):
            asking(PROMPTS)
        known = asking.known(PROMPTS)
        assert 0 < sum(text is not None for text in known) < 4
        bill = meter.bill()
        assert 0 < bill.teacher_prompt_tokens + bill.teacher_completion_tokens <= 70
    full = Generations(LocalModel(loaded, "w"), SHORT, workspace=Workspace(tmp_path))(PROMPTS)
    assert all(text in (None, whole) for text, whole in zip(known, full, strict=True))


def test_time_that_is_over_ends_it():
    speaker = Counted()
    with pytest.raises(BudgetError, match=r"time is over: 1 of 2"):
        Generations(speaker, SHORT, meter=Meter(Budget(time=1e-6)))(["a", "b"])
    assert speaker.asked == ["a"]


def test_a_person_who_stops_goes_on_later(tmp_path, monkeypatch):
    speaker = Counted()
    monkeypatch.setattr("scrimp.core.interrupts.stop_requested", lambda: len(speaker.asked) == 2)
    with pytest.raises(Stopped):
        Generations(speaker, SHORT, workspace=Workspace(tmp_path))(PROMPTS)
    assert len(Generations(speaker, SHORT, workspace=Workspace(tmp_path))(PROMPTS)) == 4
    assert speaker.asked == PROMPTS


def test_what_is_too_long_and_who_says_nothing_is_told(loaded, encoder_folder):
    with pytest.raises(DataError, match="the model reads 512"):
        Generations(LocalModel(loaded, "w"))(["one two three " * 300])
    with pytest.raises(ModelError, match="an encoder says nothing"):
        Signals().generations(["a"], load(resolve(encoder_folder), dtype="float32"))


def test_an_endpoint_may_be_asked_otherwise_without_a_workspace():
    signals = Signals()
    with Server(lambda number, _: said("x") if number else (400, b"", {})) as server:
        with pytest.raises(ModelError):
            signals.generations(["a", "b"], Endpoint(url=server.url, model="m", concurrency=1))
        assert signals.generations(["a", "b"], Endpoint(url=server.url, model="m", concurrency=2)) == ["x", "x"]
        signals.generations(["b"], Endpoint(url=server.url, model="m", tries=9))
    assert len(server.asked) <= 3


def test_a_writer_is_taught_by_an_endpoint_and_its_bill_is_told():
    def teaches(number, asked):
        shown = json.loads(re.search(r"^\{.*\}$", asked["messages"][0]["content"], re.MULTILINE)[0])
        return said(json.dumps({"text": f"new{number} made{number} up{number}", "label": shown["label"]}))

    seeds, meter = read([{"text": f"word{i} other{i}", "label": "ab"[i % 2]} for i in range(6)]), Meter()
    signals = Signals(meter=meter)
    with Server(teaches) as server:
        by = Endpoint(url=server.url, model="m")
        made = Teacher().write(seeds, 5, llm=lambda prompts: signals.generations(prompts, by))
    assert len(made) == len(server.asked) == 5 and set(made.labels) <= {"a", "b"}
    assert meter.bill().teacher_prompt_tokens == 35 and meter.bill().teacher_completion_tokens == 15
