import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM

from scrimp.checkpoints.heads import PooledClassifier
from scrimp.core.budget import Meter
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build
from scrimp.examples import batching
from scrimp.examples.templates import Encoded
from scrimp.tuning import trainer
from scrimp.tuning.adapters import trainable
from scrimp.tuning.objectives import TorchBatch, classify
from scrimp.tuning.objectives.classify import supervised_contrast
from scrimp.tuning.trainer import TrainOptions, train


def batch_of(data, pad_id=0):
    return TorchBatch.of(batching.collate(data, pad_id=pad_id), torch.device("cpu"))


def reference(model, batch):
    """The textbook loss: all logits, shifted, masked."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.float()
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), batch.input_ids[:, 1:], reduction="none")
    return (losses * batch.trained[:, 1:]).sum()


def gradients(model, total):
    moving = trainable(model)
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(moving.values()))])


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_sft_equals_the_loss_of_all_logits(causal, data, adapter, chunk):
    model, batch = build("adapter", adapter).attach(causal), batch_of(data)
    with torch.no_grad():
        for p in trainable(model).values():
            p.add_(torch.randn_like(p) * 0.02)
    objective = build("objective", "sft", {"chunk": chunk})
    loss, wanted = objective.loss(model, batch), reference(model, batch)
    assert objective._plain[model]
    assert loss.count == 3 * len(data)
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = gradients(model, loss.total), gradients(model, wanted)
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_sft_without_gradients_is_the_same_number(causal, data):
    batch, objective = batch_of(data), build("objective", "sft", {"chunk": 4})
    with torch.no_grad():
        loss = objective.loss(causal, batch)
        assert loss.total.item() == pytest.approx(reference(causal, batch).item(), rel=1e-5)
    assert not loss.total.requires_grad


def test_a_model_that_caps_its_logits_takes_its_own_way(data):
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1, head_dim=16,
                          num_attention_heads=2, num_key_value_heads=1, final_logit_softcapping=0.1)
    model, batch = build("adapter", "lora").attach(Gemma2ForCausalLM(config)), batch_of(data)
    objective = build("objective", "sft")
    loss = objective.loss(model, batch)
    assert not objective._plain[model]
    assert loss.total.item() == pytest.approx(reference(model, batch).item(), rel=1e-5)


def test_the_probe_leaves_gradients_under_autocast(causal, data):
    model, batch = build("adapter", "lora").attach(causal.to(torch.bfloat16)), batch_of(data)
    with torch.autocast("cpu", torch.bfloat16):
        loss = build("objective", "sft").loss(model, batch)
    loss.total.backward()
    assert all(p.grad is not None and p.grad.any() for n, p in trainable(model).items() if "lora_B" in n)


def test_a_trained_first_token_has_nothing_to_predict_it(causal):
    data = [Encoded(ids=[5, 6, 7], trained=[True, False, True], target=None, row=0, truncated=False)]
    objective = build("objective", "sft")
    assert objective.loss(causal, batch_of(data)).count == objective.supervised(data[0]) == 1


def test_padding_changes_nothing(causal, data):
    objective = build("objective", "sft")
    together = objective.loss(causal, batch_of(data)).total.item()
    apart = sum(objective.loss(causal, batch_of([one])).total.item() for one in data)
    assert together == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classify_is_the_summed_cross_entropy(pooled, data, smoothing):
    batch = batch_of(data)
    loss = build("objective", "classify", {"label_smoothing": smoothing}).loss(pooled, batch)
    logits = pooled(batch.input_ids, batch.attention_mask)
    p = F.log_softmax(logits, -1)
    wanted = -((1 - smoothing) * p[range(len(data)), batch.targets] + smoothing * p.mean(-1)).sum()
    assert loss.count == len(data)
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_regress_is_the_summed_squared_error_in_the_variance_of_scores(pooled, data):
    head = PooledClassifier(pooled.encoder, (), scale=(10.0, 4.0))
    scores = [2.5 * n for n in range(len(data))]
    wanted = [replace(one, target=None, wanted=(score,)) for one, score in zip(data, scores, strict=True)]
    bare = Encoded(ids=[5, 6], trained=[False, False], row=99)
    objective = build("objective", "regress")
    loss = objective.loss(head, batch_of([*wanted, bare]))
    batch = batch_of(wanted)
    said = head(batch.input_ids, batch.attention_mask)[:, 0]
    assert loss.count == len(data) == sum(map(objective.supervised, [*wanted, bare]))
    assert loss.total.item() == pytest.approx(
        sum((one - (score - 10.0) / 4.0) ** 2 for one, score in zip(said.tolist(), scores, strict=True)), rel=1e-4)


def test_classify_each_is_the_summed_binary_cross_entropy_of_each_label(pooled, data):
    head = PooledClassifier(pooled.encoder, ("a", "b", "c"), threshold=0.5)
    sets = [(float(n % 2), 1.0, float(n == 0)) for n in range(len(data))]
    wanted = [replace(one, target=None, wanted=has) for one, has in zip(data, sets, strict=True)]
    bare = Encoded(ids=[5, 6], trained=[False, False], row=99)
    objective = build("objective", "classify-each")
    objective.check(head)
    loss = objective.loss(head, batch_of([*wanted, bare]))
    batch = batch_of(wanted)
    said = head(batch.input_ids, batch.attention_mask).sigmoid()
    truth = torch.tensor(sets)
    assert loss.count == len(data) == sum(map(objective.supervised, [*wanted, bare]))
    assert loss.total.item() == pytest.approx(
        -(truth * said.log() + (1 - truth) * (1 - said).log()).sum().item(), rel=1e-4)
    with pytest.raises(ModelError, match="of several labels, not of one label"):
        objective.check(pooled)
    with pytest.raises(ModelError, match="not of a language model"):
        objective.check(torch.nn.Linear(1, 1))


def test_contrast_ends_with_a_head_fitted_to_the_states_of_the_examples(pooled, data):
    states = pooled.embed(*(getattr(batch_of(data), name) for name in ("input_ids", "attention_mask"))).detach()
    targets = torch.tensor([example.target for example in data])
    with torch.no_grad():
        pooled.head.weight.normal_()
    bare = Encoded(ids=[5, 6], trained=[False, False], row=99)
    before = [p.clone() for p in pooled.encoder.parameters()]
    objective = build("objective", "contrastive")
    rows = objective.prepare(pooled, [*data, bare], pad_id=0, micro_tokens=16)
    build("objective", "classify").conclude(pooled, rows, pad_id=0, micro_tokens=16)
    untold = pooled.logits(states)
    objective.conclude(pooled, rows, pad_id=0, micro_tokens=16)
    told = pooled.logits(states)
    assert torch.allclose(told, pooled.logits(3 * states), atol=1e-5)
    assert F.cross_entropy(told, targets) < F.cross_entropy(untold, targets)
    assert torch.isfinite(told).all()
    assert all(torch.equal(a, b) for a, b in zip(before, pooled.encoder.parameters(), strict=True))


def test_a_label_that_no_example_has_is_never_said_and_one_alone_changes_nothing(pooled, data):
    before = pooled.head.weight.detach().clone()
    build("objective", "contrastive").conclude(pooled, [one for one in data if one.target == 1], pad_id=0,
                                               micro_tokens=64)
    assert torch.equal(pooled.head.weight, before)
    three = PooledClassifier(pooled.encoder, ("no", "perhaps", "yes"), unit=True)
    build("objective", "contrastive").conclude(three, [replace(one, target=2 * one.target) for one in data],
                                               pad_id=0, micro_tokens=64)
    said = three(*(getattr(batch_of(data), name) for name in ("input_ids", "attention_mask"))).softmax(dim=1)
    assert said[:, 1].max() < 1e-6


def test_a_head_of_scores_learns_no_labels_and_the_other_way_round(pooled, causal):
    scorer = PooledClassifier(pooled.encoder, (), scale=(0.0, 1.0))
    with pytest.raises(ModelError, match="of one label, not of a score") as refused:
        build("objective", "classify").check(scorer)
    assert refused.value.fix == "objective: regress"
    with pytest.raises(ModelError, match="of a score, not of one label") as refused:
        build("objective", "regress").check(pooled)
    assert refused.value.fix == "objective: classify"
    with pytest.raises(ModelError, match="not of an encoder with a pooled head") as refused:
        build("objective", "sft").check(scorer)
    assert refused.value.fix == "objective: regress"
    build("objective", "regress").check(scorer)
    build("objective", "classify").check(pooled)


def test_classify_leaves_out_rows_without_a_label(pooled, data):
    objective = build("objective", "classify")
    bare = Encoded(ids=[5, 6], trained=[False, False], target=None, row=99, truncated=False)
    assert objective.supervised(bare) == 0
    with_bare, without = objective.loss(pooled, batch_of([*data, bare])), objective.loss(pooled, batch_of(data))
    assert with_bare.count == without.count == len(data)
    assert with_bare.total.item() == pytest.approx(without.total.item(), rel=1e-5)


def contrast(states, classes, temperature):
    """As it is written down, row by row."""
    found = []
    for i, own in enumerate(classes):
        cosine = [float(F.cosine_similarity(states[i], z, dim=0)) / temperature for z in states]
        known = [a for a, other in enumerate(classes) if a != i and other >= 0]
        alike = [p for p in known if classes[p] == own]
        others = math.log(sum(math.exp(cosine[a]) for a in known)) if known else 0.0
        found.append(-sum(cosine[p] - others for p in alike) / len(alike) if alike and own >= 0 else 0.0)
    return found


@pytest.mark.parametrize("classes", [[0, 1, 0, 1, 1], [0, 0, 2, -1, 0], [3], [-1, -1], [0, 1]])
def test_what_brings_rows_together_is_the_written_formula(classes):
    states = torch.randn(len(classes), 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = supervised_contrast(states, torch.tensor(classes), 0.3)
    assert found.tolist() == pytest.approx(contrast(states.detach(), classes, 0.3), rel=1e-4, abs=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), states)
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize(("together", "unit"), [(1, False), (64, True), (1024, True)])
def test_contrastive_lies_between_cross_entropy_and_contrast(pooled, data, monkeypatch, together, unit):
    monkeypatch.setattr(classify, "_TOGETHER", together)
    pooled.unit = unit
    batch = batch_of([replace(one, ids=one.ids[n % 3:], trained=one.trained[n % 3:]) for n, one in enumerate(data)])
    plain = build("objective", "classify").loss(pooled, batch)
    apart = supervised_contrast(pooled.embed(batch.input_ids, batch.attention_mask), batch.targets, 0.2).sum()
    options = ({"contrast": share, "contrast_temperature": 0.2} for share in (0.0, 0.75))
    none, much = (build("objective", "contrastive", one).loss(pooled, batch) for one in options)
    assert none.total.item() == pytest.approx(plain.total.item(), rel=1e-5)
    assert much.total.item() == pytest.approx(0.25 * plain.total.item() + 0.75 * apart.item(), rel=1e-5)
    assert much.count == plain.count


@pytest.mark.parametrize(("objective", "passes"), [("contrastive", 3), ("classify", 0)])
def test_time_is_kept_for_what_an_objective_does_with_all_examples_in_the_end(pooled, data, tmp_path, monkeypatch,
                                                                              objective, passes):
    kept = []
    monkeypatch.setattr(trainer._Run, "cut_to_time", lambda run: kept.append((run.after_s(), max(run.at.pace.steps))))
    methods = {family: build(family, name) for family, name in (("objective", objective), ("optimizer", "adamw"),
                                                                ("schedule", "cosine"))}
    train(build("adapter", "full").attach(pooled), data, pad_id=0, **methods, folder=tmp_path, meter=Meter(),
          options=TrainOptions(steps=4, batch_size=len(data) // 3, reserve_s=7.0))
    assert kept
    for after_s, slowest_s in kept:
        assert after_s == pytest.approx(7.0 + passes * trainer._FORWARD_SHARE * slowest_s)


def test_a_step_whose_rows_are_compared_is_not_parted(pooled, data, tmp_path):
    methods = {family: build(family, name) for family, name in (("objective", "contrastive"), ("optimizer", "adamw"),
                                                                ("schedule", "cosine"))}
    model = build("adapter", "full").attach(pooled)
    with pytest.raises(OptionError, match="one part") as refused:
        train(model, data, pad_id=0, **methods, folder=tmp_path, meter=Meter(),
              options=TrainOptions(steps=1, batch_size=len(data), micro_tokens=1))
    assert refused.value.where == "objective"
