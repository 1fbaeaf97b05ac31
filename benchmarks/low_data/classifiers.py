"""Peers that tell classes: word counts, a frozen encoder, SetFit and AutoGluon, each as its own pages use it."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.low_data.asked import Asked, paced

__all__ = ["autogluon", "frozen", "setfit", "words"]

_SPARE = 12.0  # seconds that are kept for what nobody foresees
_STRENGTHS = (1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 10_000.0)  # of data over penalty, in the order that they are tried
_PAIRS = 16   # of a step of SetFit, its default


def words(asked: Asked) -> list[str]:
    """TF-IDF of words and word pairs; logistic regression, its penalty cross-validated."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return _regressed(asked, counted.fit_transform(asked.texts), counted.transform(asked.test))


def frozen(asked: Asked) -> list[str]:
    """Embeddings of MiniLM as sentence-transformers computes them; logistic regression, its penalty cross-validated."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(asked.models["minilm"], device="cpu")
    return _regressed(asked, *(encoder.encode(texts, show_progress_bar=False) for texts in (asked.texts, asked.test)))


def _regressed(asked: Asked, train: Any, test: Any) -> list[str]:
    """The penalties are tried from the usual one on, as many as the time allows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(asked.folds, shuffle=True, random_state=asked.seed)
    found, took = dict[float, float](), 0.0
    for strength in _STRENGTHS:
        began = time.monotonic()
        if asked.left - _SPARE < 4 * took:  # a weaker penalty takes longer, and what is chosen is fitted once more
            break
        regression = LogisticRegression(max_iter=1000, C=strength)
        found[strength] = cross_val_score(regression, train, asked.answers, cv=folds).mean()
        took = max(took, time.monotonic() - began)
    asked.notes["penalties"] = len(found)
    best = max(sorted(found), key=found.__getitem__)
    return LogisticRegression(max_iter=1000, C=best).fit(train, asked.answers).predict(test).tolist()


def setfit(asked: Asked) -> list[str]:
    """SetFit as it is by default; its steps are capped, by `max_steps`, at what the time allows, and end with it."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    class InTime(TrainerCallback):  # type: ignore[misc]
        """A step may take longer than those that the cap was told by."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            asked.notes["done"] = state.global_step
            control.should_training_stop |= time.monotonic() > until

    labels = sorted(set(asked.answers))
    model = SetFitModel.from_pretrained(asked.models["minilm"], labels=labels, device="cpu")
    rows = Dataset.from_dict({"text": asked.texts, "label": [labels.index(answer) for answer in asked.answers]})
    plan = {"batch_size": _PAIRS, "seed": asked.seed, "save_strategy": "no", "report_to": "none",
            "logging_strategy": "no", "show_progress_bar": False}
    room = asked.left - 1.3 * paced(lambda texts: model.model_body.encode(texts, show_progress_bar=False),
                                    [*asked.test, *asked.texts]) - _SPARE
    until = time.monotonic() + room

    def train(steps: int) -> float:
        began = time.monotonic()
        trainer = Trainer(model=model, args=TrainingArguments(max_steps=steps, **plan), train_dataset=rows,
                          callbacks=[InTime()])
        trainer.train_embeddings(*trainer.dataset_to_parameters(rows))
        return time.monotonic() - began

    return _contrasted(asked, model, rows, train, room, labels)


def _contrasted(asked: Asked, model: Any, rows: Any, train: Any, room: float, labels: list[str]) -> list[str]:
    """Learns for as many steps as the ``room`` has, of as many as one epoch of all pairs has."""
    fresh = {name: tensor.clone() for name, tensor in model.model_body.state_dict().items()}
    began = time.monotonic()
    short = train(1)
    a_step = (train(4) - short) / 3
    model.model_body.load_state_dict(fresh)
    affordable = int((room - (time.monotonic() - began) - short) / max(a_step, 1e-3))
    steps = min(epoch(asked.answers), affordable)
    asked.notes.update(steps=epoch(asked.answers), done=max(steps, 0))
    if steps > 0:
        train(steps)
    model.fit(asked.texts, [labels.index(answer) for answer in asked.answers], num_epochs=1)
    return [str(answer) for answer in model.predict(asked.test)]


def epoch(answers: list[str]) -> int:
    """Steps of one epoch as SetFit samples by default: all pairs, the rarer kind repeated."""
    rows = len(answers)
    alike = sum(answers.count(label) * (answers.count(label) + 1) // 2 for label in set(answers))
    return -(-2 * max(alike, rows * (rows + 1) // 2 - alike) // _PAIRS)


def autogluon(asked: Asked) -> list[str]:
    """AutoGluon's predictor of tables, which makes n-grams of a column of texts, with its defaults and a time limit.

    Its default counts n-grams that stand in thirty rows, of which few rows have none; two rows are enough here.
    """
    import numpy
    import pandas
    from autogluon.features.generators import AutoMLPipelineFeatureGenerator
    from autogluon.tabular import TabularPredictor
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(min_df=2, ngram_range=(1, 3), max_features=10_000, dtype=numpy.uint8)
    predictor = TabularPredictor(label="label", path="autogluon", verbosity=0, eval_metric="accuracy",
                                 learner_kwargs={"label_count_threshold": 1})
    predictor.fit(pandas.DataFrame(asked.train, columns=["text", "label"]), num_cpus=asked.threads, num_gpus=0,
                  feature_generator=AutoMLPipelineFeatureGenerator(vectorizer=counts),
                  time_limit=0.8 * asked.left - _SPARE)
    return [str(label) for label in predictor.predict(pandas.DataFrame({"text": asked.test}))]
