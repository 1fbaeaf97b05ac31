"""The meta-learners' own mathematics, on models small enough to differentiate by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from scrimp.core.errors import DataError, GuardError, ModelError
from scrimp.core.registry import build
from scrimp.tuning.meta import Episode, Reader


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def episode(seed, rows=5):
    rng = np.random.default_rng(seed)
    x, q = rng.normal(size=(2, rows, 2))
    return Episode(x, np.sin(x[:, :1] + seed), q, np.sin(q[:, :1] + seed))


def by_hand(model, episodes, *, rate, steps, order, last=False):
    """The outer gradient by plain autograd, weight by weight."""
    names = [n for n, _ in model.named_parameters()]
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters()}

    def run(w, x):
        return torch.tanh(x @ w["0.weight"].T + w["0.bias"]) @ w["2.weight"].T + w["2.bias"]

    for e in episodes:
        start = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
        x, y, q, z = (torch.as_tensor(a) for a in (e.support_x, e.support_y, e.query_x, e.query_y))
        moved = dict(start)
        inside = [n for n in names if not last or n.startswith("2.")]
        for _ in range(steps):
            slope = torch.autograd.grad(F.mse_loss(run(moved, x), y), [moved[n] for n in inside],
                                        create_graph=order == "second")
            moved |= {n: moved[n] - rate * g for n, g in zip(inside, slope, strict=True)}
            if order != "second":
                moved = {n: m.detach().requires_grad_() for n, m in moved.items()}
        if order == "reptile":
            found = [start[n] - moved[n] for n in names]
        else:
            target = start if order == "second" else moved
            found = torch.autograd.grad(F.mse_loss(run(moved, q), z), [target[n] for n in names])
        for n, g in zip(names, found, strict=True):
            total[n] += g.detach() / len(episodes)
    return total


@pytest.mark.parametrize(("name", "options"), [
    ("maml", {"inner_steps": 1}), ("maml", {"inner_steps": 3}), ("fomaml", {"inner_steps": 2}),
    ("reptile", {"inner_steps": 3}), ("anil", {"inner_steps": 2}), ("joint", {})])
def test_the_outer_gradient_is_the_one_by_hand(name, options):
    model, episodes = network(), [episode(1), episode(2), episode(3)]
    method = build("meta", name, {"inner_rate": 0.3, **options})
    method.accumulate(model, episodes)
    wanted = by_hand(model, episodes, rate=0.3, steps=method.inner_steps, order=method.order, last=name == "anil")
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[n])


def test_a_new_task_is_learned_by_plain_steps():
    model, new = network(), episode(9)
    learner = build("meta", "maml", {"inner_rate": 0.1, "steps": 2, "meta_steps": 1}).fit(model, lambda rng: episode(1))
    copy = network()
    copy.load_state_dict(model.state_dict())
    steps = torch.optim.SGD(copy.parameters(), lr=0.1)
    for _ in range(2):
        steps.zero_grad()
        F.mse_loss(copy(torch.as_tensor(new.support_x)), torch.as_tensor(new.support_y)).backward()
        steps.step()
    np.testing.assert_allclose(learner.predict(new), copy(torch.as_tensor(new.query_x)).detach().numpy(), rtol=1e-6)


def test_a_loss_that_is_no_number_is_said():
    with pytest.raises(GuardError, match=r"the loss of meta-training is (nan|inf)"):
        build("meta", "maml", {"inner_rate": 1e200, "meta_steps": 5}).fit(network(), lambda rng: episode(1))


def classes(rng, rows=4):
    known = rng.permutation(5)[:3]
    labels = np.repeat(np.arange(3), rows)
    x, q = (np.eye(5)[known[labels]] + 0.3 * rng.normal(size=(len(labels), 5)) for _ in range(2))
    return Episode(x, labels, q, labels, known_as=known, known=5)


def embedding():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4)).double()


def test_prototypes_are_the_means_of_the_support():
    model, one = embedding(), classes(np.random.default_rng(0))
    found = build("meta", "prototypes").accumulate(model, [one])
    means = np.stack([(model(torch.as_tensor(one.support_x)).detach().numpy())[one.support_y == c].mean(0)
                      for c in range(3)])
    asked = model(torch.as_tensor(one.query_x)).detach().numpy()
    scores = -((asked[:, None] - means) ** 2).sum(-1)
    wanted = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(scores)), one.query_y]
    assert found == pytest.approx(wanted.mean())


@pytest.mark.parametrize("generations", [1, 3])
def test_an_embedding_learns_all_classes_together(generations):
    learner = build("meta", "rfs", {"meta_steps": 60, "meta_rate": 1e-2, "generations": generations}).fit(
        embedding(), classes)
    one = classes(np.random.default_rng(5))
    assert (learner.predict(one).argmax(1) == one.query_y).mean() > 0.9


def test_each_generation_learns_from_the_one_before():
    models = [embedding() for _ in range(3)]
    for model, options in zip(models, ({"generations": 1}, {"generations": 2, "soft": 0.0},
                                       {"generations": 2, "soft": 1.0}), strict=True):
        build("meta", "rfs", {"meta_steps": 5, **options}).fit(model, classes)
    first, again, taught = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models)
    assert not torch.equal(first, again)
    assert not torch.equal(again, taught)


def test_classes_without_common_names_are_refused():
    bare = classes(np.random.default_rng(0))
    with pytest.raises(DataError, match="known as"):
        build("meta", "rfs").fit(embedding(), lambda rng: Episode(bare.support_x, bare.support_y, bare.query_x,
                                                                  bare.query_y))


@pytest.fixture
def reader(causal_folder: Path) -> Reader:
    return Reader(AutoModelForCausalLM.from_pretrained(causal_folder, dtype=torch.float32),
                  AutoTokenizer.from_pretrained(causal_folder))


def texts(rng):
    """Words of two kinds."""
    kinds = [("good", "loved"), ("bad", "hated")]
    labels = rng.permutation([0, 1, 0, 1])
    said = [f"film {kinds[c][rng.integers(2)]}" for c in labels]
    return Episode(said[:3], labels[:3], said[3:], labels[3:], words=("one", "two"), instruction="which")


def test_a_text_holds_everything_and_trains_the_answer_alone(reader):
    one = Episode(["a film", "the fox"], np.array([1, 0]), ["seven"], np.array([1]), words=("one", "two"),
                  instruction="which")
    made = build("meta", "in-context").text(reader, one, "seven", 1)
    assert reader.tokenizer.decode(made.ids) == "which\na film = two\nthe fox = one\nseven = two\n"
    assert reader.tokenizer.decode([t for t, on in zip(made.ids, made.trained, strict=True) if on]) == " two\n"


def test_reading_gives_the_probabilities_of_the_whole_texts(reader):
    method, one = build("meta", "raw-in-context"), texts(np.random.default_rng(0))
    found = method.fit(reader, texts).predict(one)
    scores = []
    for word in range(2):
        text = method.text(reader, one, one.query_x[0], word)
        logs = reader.model(input_ids=torch.tensor([text.ids])).logits[0].log_softmax(-1)
        scores.append(sum(logs[i - 1, text.ids[i]].item() for i, on in enumerate(text.trained) if on))
    np.testing.assert_allclose(found[0], np.array(scores) - np.logaddexp(*scores), atol=1e-4)


def test_tuning_on_episodes_makes_the_answers_likely(reader):
    def always_the_first(rng):
        return replace(texts(rng), query_y=np.array([0]))

    drawn = [texts(np.random.default_rng(n)) for n in range(1000, 1008)]
    raw = build("meta", "raw-in-context").fit(reader, texts)
    before = np.mean([raw.predict(one)[0, 0] for one in drawn])
    method = build("meta", "in-context", {"episodes": 64, "learning_rate": 3e-3, "adapter": "full"})
    learner = method.fit(reader, always_the_first)
    assert np.mean([learner.predict(one)[0, 0] for one in drawn]) > before + 3  # nats
    assert np.array_equal(raw.predict(drawn[0]), learner.predict(drawn[0]))  # the same tuned model, read again


def test_what_cannot_be_read_is_refused(reader):
    with pytest.raises(ModelError, match="cannot read"):
        build("meta", "in-context").fit(network(), texts)
    with pytest.raises(DataError, match="no words"):
        build("meta", "in-context").text(reader, episode(0), "a", 0)
