"""Serving and retention on the real small models."""

import numpy as np
import pytest

from scrimp.checkpoints.loading import load, resolve
from scrimp.evaluation import retention
from scrimp.evaluation.tasks import evaluate
from scrimp.examples.records import Examples, Layout
from scrimp.examples.templates import Template
from scrimp.serving.predictors import FrozenHead, Generator, LabelNames, LabelScorer, load_predictor
from scrimp.serving.scoring import score_labels, score_plainly

pytestmark = pytest.mark.integration

GOOD = ("A wonderful, moving film that I would watch again.", "The best evening I have had in months.",
        "Funny, warm and beautifully made.", "Brilliant acting and a clever story.",
        "I love this phone, it works perfectly.")
BAD = ("Dull, far too long and badly acted.", "I want my money back.", "A complete waste of time.",
       "The food was cold and the staff were rude.", "It broke after two days, terrible.")
REVIEWS = [(text, label) for pair in zip(GOOD, BAD, strict=True)
           for text, label in zip(pair, ("positive", "negative"), strict=True)]
ROWS = Examples(tuple({"text": t, "label": label} for t, label in REVIEWS), Layout.LABEL,
                tuple(f"reviews:{n}" for n in range(len(REVIEWS))))


@pytest.fixture(scope="module")
def smol():
    return load(resolve("smollm2-135m"), dtype="float32")


@pytest.fixture(scope="module")
def minilm():
    return load(resolve("minilm"), dtype="float32")


def test_the_tree_equals_plain_passes_on_a_real_model(smol):
    template = Template.for_(smol.tokenizer, ROWS)
    prompts = [template.prompt(row, smol.tokenizer) for row in ROWS.rows[:5]]
    endings = ("positive", "positively so", "negative", "negative in every way", "so-so")
    labels = [[*smol.tokenizer(text)["input_ids"], template.end(smol.tokenizer)] for text in endings]
    np.testing.assert_allclose(score_labels(smol, prompts, labels), score_plainly(smol, prompts, labels), atol=1e-4)


def test_an_untouched_model_beats_chance_and_is_the_same_from_disk(smol, tmp_path):
    predictor = LabelScorer(smol, Template.for_(smol.tokenizer, ROWS), calibrate=True)
    found = evaluate(predictor, ROWS)
    assert found.scores[0].value >= 0.7
    predictor.save(tmp_path / "model")
    for then, now in zip(found.predictions, load_predictor(tmp_path / "model").predict(ROWS.rows), strict=True):
        assert now["scores"] == pytest.approx(then["scores"], abs=1e-3)


def test_it_answers_a_question_whatever_stands_beside_it(smol):
    asked = ("What is the capital of France?", "Say hello, and then tell me in one sentence what a library is for.")
    rows = Examples(tuple({"prompt": text, "completion": ""} for text in asked), Layout.PROMPT, ("q:1", "q:2"))
    generator = Generator(smol, Template.for_(smol.tokenizer, rows), max_new_tokens=12)
    together = generator.predict(rows.rows)
    assert "Paris" in together[0]["text"]
    assert together == [generator.predict([row])[0] for row in rows.rows]


def test_the_base_knows_what_retention_asks():
    probe = retention.measure(load(resolve("smollm2-135m")), subset=40)
    assert sum(probe.right) / len(probe.right) > 0.7
    assert 2 < sum(probe.losses) / sum(probe.tokens) < 4.5


TOPICS = {
    "cooking": ("Fry the onions slowly in butter.", "Bake the cake for forty minutes.", "Add salt to the soup.",
                "Knead the dough until it is smooth."),
    "astronomy": ("The telescope found a distant galaxy.", "Jupiter has many moons.", "A comet passed the sun.",
                  "Stars are born in clouds of gas."),
    "football": ("The striker scored twice in the second half.", "The goalkeeper saved a penalty.",
                 "Our team lost the cup final.", "The referee showed a red card."),
}


def test_frozen_features_of_a_sentence_encoder_classify(minilm):
    learn, judge = ([(text, topic) for topic, texts in TOPICS.items() for text in texts[part]]
                    for part in (slice(2), slice(2, None)))
    head = FrozenHead.fit(minilm, [text for text, _ in learn], [topic for _, topic in learn])
    rows = Examples(tuple({"text": text, "label": topic} for text, topic in judge), Layout.LABEL, ("t",) * len(judge))
    assert evaluate(head, rows).scores[0].value == 1
    assert evaluate(LabelNames(minilm, rows.labels), rows).scores[0].value > 0.8
