"""Label scoring: the tree of labels gives what one pass a label gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scrimp.checkpoints.loading import load, resolve
from scrimp.core.budget import Meter
from scrimp.core.errors import DataError, ModelError
from scrimp.serving import scoring
from scrimp.serving.scoring import Trie, calibrated, score_labels, score_plainly

TOKENS = st.lists(st.integers(3, 60), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def loaded(causal_folder):
    return load(resolve(causal_folder), dtype="float32")


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6, unique_by=tuple))
def test_a_trie_spells_every_continuation_and_holds_each_beginning_once(continuations):
    trie = Trie.of(continuations)

    def spelt(node):
        return [] if node < 0 else [*spelt(trie.parents[node]), trie.tokens[node]]

    assert len(trie.tokens) == len({tuple(c[:k]) for c in continuations for k in range(1, len(c))})
    for row, answer in enumerate(continuations):
        assert trie.real[row].sum() == len(answer)
        for k, token in enumerate(answer):
            assert trie.wanted[row, k] == token
            assert spelt(int(trie.reading[row, k]) - 1) == answer[:k]
    assert all(depth == len(spelt(node)) for node, depth in enumerate(trie.depths))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=20), min_size=1, max_size=6),
       st.lists(TOKENS, min_size=1, max_size=6, unique_by=tuple), st.lists(st.integers(3, 60), max_size=6),
       st.sampled_from([16, 64, 4096]))
def test_the_tree_equals_one_pass_a_label(loaded, prompts, continuations, shared, micro_tokens):
    prompts = [[*shared, *prompt] for prompt in prompts]
    tree = score_labels(loaded, prompts, continuations, micro_tokens=micro_tokens)
    alone = np.concatenate([score_plainly(loaded, [prompt], continuations) for prompt in prompts])
    assert scoring._TREES[loaded.model]
    np.testing.assert_allclose(tree, alone, atol=1e-4)


def test_the_scores_are_the_models_own_log_probabilities(loaded):
    prompt, answer = [5, 9, 30], [12, 44, 2]
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    expected = sum(float(logits[2 + k, token]) for k, token in enumerate(answer))
    assert score_labels(loaded, [prompt], [answer])[0, 0] == pytest.approx(expected, abs=1e-4)
    assert score_labels(loaded, [prompt], [answer], normalise="mean")[0, 0] == pytest.approx(expected / 3, abs=1e-4)


def test_log_probabilities_of_all_next_tokens_sum_to_one(loaded):
    every = [[token] for token in range(loaded.model.config.vocab_size)]
    scores = score_labels(loaded, [[7, 8], [9]], every)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)


def test_a_model_that_ignores_the_mask_is_scored_plainly_and_that_is_said_once(causal_folder, capsys):
    blind = load(resolve(causal_folder), dtype="float32")
    honest = blind.model.forward

    def forward(*args, attention_mask=None, past_key_values=None, **given):
        if attention_mask is not None and attention_mask.dim() == 4:
            attention_mask = None
        return honest(*args, attention_mask=attention_mask, past_key_values=past_key_values, **given)

    prompts, continuations = [[5, 6, 7], [8, 9, 10, 11]], [[20, 21, 22, 2], [30, 31, 2]]
    expected = score_plainly(blind, prompts, continuations)
    blind.model.forward = forward
    for _ in range(2):
        np.testing.assert_allclose(score_labels(blind, prompts, continuations), expected, atol=1e-4)
    assert capsys.readouterr().err.count("takes no tree-shaped attention mask") == 1


def test_a_model_that_refuses_the_mask_is_scored_plainly(causal_folder):
    strict = load(resolve(causal_folder), dtype="float32")
    honest = strict.model.forward

    def forward(*args, attention_mask=None, **given):
        if attention_mask is not None and attention_mask.dim() == 4:
            raise ValueError("only two dimensions")
        return honest(*args, attention_mask=attention_mask, **given)

    expected = score_labels(strict, [[5, 6, 7]], [[20, 21, 2], [30, 2]])
    scoring._TREES.pop(strict.model)
    strict.model.forward = forward
    np.testing.assert_allclose(score_labels(strict, [[5, 6, 7]], [[20, 21, 2], [30, 2]]), expected, atol=1e-4)
    assert scoring._TREES[strict.model] is False


def test_a_prompt_beyond_a_sliding_window_is_scored_plainly(loaded):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 6}
    windowed = loaded.with_model(MistralForCausalLM(MistralConfig(**sizes)).eval())
    prompts, continuations = [list(range(3, 23)), [4, 5]], [[30, 31, 2], [40, 41, 42, 2]]
    alone = np.concatenate([score_plainly(windowed, [prompt], continuations) for prompt in prompts])
    np.testing.assert_allclose(score_labels(windowed, prompts, continuations), alone, atol=1e-4)
    np.testing.assert_allclose(score_labels(windowed, prompts[1:], continuations), alone[1:], atol=1e-4)


def test_it_scores_a_tuned_model_in_both_precisions(causal_folder):
    from scrimp.tuning.adapters import LoRA

    found = {}
    for dtype in ("float32", "bfloat16"):
        loaded = load(resolve(causal_folder), dtype=dtype)
        tuned = loaded.with_model(LoRA(rank=2).attach(loaded.model))
        for name, parameter in tuned.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(parameter, 0.01)
        found[dtype] = score_labels(tuned, [[5, 6], [7, 8, 9]], [[20, 2], [30, 31, 2]])
    np.testing.assert_allclose(found["float32"], found["bfloat16"], atol=0.15)


def test_a_models_mode_and_gradients_are_left_as_they_were(loaded):
    loaded.model.train()
    score_labels(loaded, [[5, 6]], [[20, 2]])
    assert loaded.model.training
    assert torch.is_grad_enabled()
    loaded.model.eval()


def test_real_tokens_are_charged_and_a_shared_beginning_once(loaded):
    score_labels(loaded, [[1, 2]], [[3, 2]])  # whether the model takes trees is found out beforehand
    meter = Meter()
    score_labels(loaded, [[5, 6, 7, 8], [5, 6, 9]], [[20, 2], [30, 31, 2]], meter=meter)
    assert meter.bill().tokens_forward == 2 + (2 + 3) + (1 + 3)
    assert meter.bill().flops > 0


def test_no_rows_no_scores(loaded):
    assert score_labels(loaded, [], [[20, 2]]).shape == (0, 1)


@pytest.mark.parametrize(("prompts", "continuations"), [([[5], []], [[2]]), ([[5]], [[2], []]), ([[5]], [])])
def test_what_is_empty_is_refused(loaded, prompts, continuations):
    with pytest.raises(DataError):
        score_labels(loaded, prompts, continuations)


def test_weights_that_are_no_numbers_are_found(causal_folder):
    broken = load(resolve(causal_folder), dtype="float32")
    with torch.no_grad():
        broken.model.model.norm.weight[3] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        score_labels(broken, [[5, 6]], [[20, 2], [30, 2]])


def test_calibration_makes_labels_equal_on_content_free_inputs():
    prior = np.log([[0.8, 0.1], [0.6, 0.2]])
    shares = np.array([[8 / 9, 1 / 9], [3 / 4, 1 / 4]]).mean(axis=0)
    np.testing.assert_allclose(calibrated(np.log(shares)[None], prior), [[0, 0]], atol=1e-12)
