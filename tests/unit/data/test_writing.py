"""Mosaics say what they ask, and a teacher is shown the seeds that a student gets wrong."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.core.errors import DataError
from scrimp.data.synthesis import Mosaic, Teacher
from scrimp.data.synthesis.mosaic import joined
from scrimp.examples.formats import read

ITEMS = [(f"q{i}", f"a{i}") for i in range(1, 7)]


def prompts(count=12):
    return read([{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(count)])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sampled_from(["plain", "format", "permute", "maskout"]), st.integers(0, 99))
def test_the_answers_are_those_that_are_asked_for(count, kind, seed):
    made = joined(ITEMS[:count], kind, np.random.default_rng(seed))
    ask, *listed = made["prompt"].split("\n")
    assert listed == [f"{i}. q{i}" for i in range(1, count + 1)]
    named = [int(n) for n in re.findall(r"\d+", ask)]
    wanted = {"permute": named, "maskout": [i for i in range(1, count + 1) if i not in named]}.get(
        kind, list(range(1, count + 1)))
    begin, end = re.search(r"between (\S+) and (\S+)\.", ask).groups() if kind == "format" else ("", "")
    assert made["completion"].split("\n") == [f"{i}. {begin}a{i}{end}" for i in wanted]
    assert wanted


def test_a_single_instruction_is_left_as_it_is():
    made = Mosaic(most=1, kinds=("plain", "permute", "maskout")).write(prompts(), 12)
    assert sorted(row["prompt"] for row in made.rows) == sorted(row["prompt"] for row in prompts().rows)


def test_all_seeds_are_used_equally_often():
    made = Mosaic(most=4, kinds=("plain",)).write(prompts(), 200)
    counts = Counter(source for told in made.sources for source in told.split("+"))
    assert max(counts.values()) - min(counts.values()) <= 4
    assert all(len(set(told.split("+"))) == len(told.split("+")) for told in made.sources)


def labelled(count=6):
    return read([{"text": f"word{i} other{i} third{i}", "label": "ab"[i % 2]} for i in range(count)])


class Recorder:
    """A teacher that notes what it is shown and answers as it is told."""

    def __init__(self, answer):
        self.shown, self.answer = [], answer

    def __call__(self, asked):
        found = [json.loads(re.search(r"^\{.*\}$", prompt, re.MULTILINE)[0]) for prompt in asked]
        self.shown += found
        return [self.answer(row, len(self.shown) + i) for i, row in enumerate(found)]


def fresh(row, number):
    return json.dumps({"text": f"new{number} made{number} up{number}", "label": row["label"]})


def test_only_seeds_that_are_wrong_are_shown_and_written_rows_are_trained_on():
    seeds, trained, teacher = labelled(), [], Recorder(fresh)

    def student(examples):
        trained.append(len(examples))
        return lambda rows: [row["label"] if i not in (1, 4) else "?" for i, row in enumerate(rows)]

    grown = Teacher(rounds=3, each=2).grow(seeds, student=student, llm=teacher)
    assert trained == [6, 10, 14]
    assert {row["text"] for row in teacher.shown} == {seeds[1]["text"], seeds[4]["text"]}
    assert grown.rows[:6] == seeds.rows
    assert len(grown) == 18
    assert grown.sources[6].endswith("(written)")


def test_the_control_is_shown_as_many_by_chance():
    teacher, errors = Recorder(fresh), (1, 4)
    Teacher(targets="chance", rounds=8).grow(
        labelled(), llm=teacher, student=lambda _: lambda rows: ["?" if i in errors else row["label"]
                                                                for i, row in enumerate(rows)])
    assert len(teacher.shown) == 16
    assert len({row["text"] for row in teacher.shown}) > 3


def test_a_student_without_errors_asks_for_nothing():
    teacher = Recorder(fresh)
    right = lambda rows: [f" {row['label'].upper()}" for row in rows]  # noqa: E731
    grown = Teacher().grow(labelled(), llm=teacher, student=lambda _: right)
    assert (len(grown), teacher.shown) == (6, [])


@pytest.mark.parametrize("answer", [
    "", "nothing", "{", "[1]", '{"text": "new words here"}', '{"text": "new words here", "label": "c"}',
    '{"text": 3, "label": "a"}', '{"text": "  ", "label": "a"}', '{"text": "WORD0 other0  third0", "label": "a"}',
    "[" * 100_000])
def test_answers_that_are_no_new_example_are_dropped_and_noted(answer):
    found = Teacher().write(labelled(), 3, llm=Recorder(lambda *_: answer))
    assert len(found) == 0
    assert found.notes == ("3 of 3 answers of the teacher were no example, or nothing new",)


def test_what_is_too_like_something_known_is_dropped_and_words_around_are_passed_over():
    teacher = Recorder(lambda row, _: f'Sure!\n{{"text": "{row["text"]} more", "label": "a"}}\nDone.')
    assert len(Teacher(novelty=0.8).write(labelled(), 4, llm=teacher)) == 0
    assert len(Teacher(novelty=0.9).write(labelled(), 4, llm=teacher)) == 4


def test_chats_cannot_be_written():
    chats = read([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}])
    with pytest.raises(DataError, match="layout 'chat'"):
        Teacher().write(chats, 1, llm=Recorder(fresh))
