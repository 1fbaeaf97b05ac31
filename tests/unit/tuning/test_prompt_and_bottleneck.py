"""Soft prompts, and networks between the layers."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from scrimp.checkpoints.exporting import save_adapter
from scrimp.checkpoints.loading import load, resolve
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.registry import build
from scrimp.serving.scoring import score_labels, score_plainly
from scrimp.signals.decoding import generate
from scrimp.tuning.adapters import trainable


@pytest.fixture
def prompted(causal):
    return build("adapter", "prompt", {"vectors": 4, "start": "random"}).attach(causal).eval()


def test_logits_are_those_of_the_text_after_the_vectors(prompted):
    ids = torch.arange(5, 12)[None]
    vectors = next(iter(trainable(prompted).values()))
    embedded = torch.cat([vectors[None], prompted.get_base_model().get_input_embeddings()(ids)], dim=1)
    wanted = prompted.get_base_model()(inputs_embeds=embedded).logits[:, 4:]
    torch.testing.assert_close(prompted(ids).logits, wanted)
    torch.testing.assert_close(prompted(ids, logits_to_keep=2).logits, wanted[:, -2:])


@pytest.mark.parametrize("left", [True, False])
def test_padding_on_either_side_changes_nothing(prompted, left):
    row, pad = torch.arange(5, 10), torch.zeros(3, dtype=torch.long)
    ids = torch.cat([pad, row] if left else [row, pad])[None]
    mask = (ids != 0).long()
    found = prompted(ids, attention_mask=mask).logits[0]
    torch.testing.assert_close(found[3:] if left else found[:5], prompted(row[None]).logits[0], atol=1e-5, rtol=1e-5)


def test_generation_continues_the_text_in_any_batch(prompted, causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32").with_model(prompted)
    rows = [[5, 6, 7], [8, 9, 10, 11, 12, 13]]
    alone = [generate(loaded, [row], max_new_tokens=5)[0] for row in rows]
    assert generate(loaded, rows, max_new_tokens=5) == alone
    ids = torch.tensor([rows[0]])
    for token in alone[0]:
        assert int(prompted(ids).logits[0, -1].argmax()) == token
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    made = prompted.generate(torch.tensor([rows[0]]), generation_config=GenerationConfig(max_new_tokens=2))
    assert made[0, :3].tolist() == rows[0]


def test_labels_are_scored_as_by_plain_passes(prompted, causal_folder):
    loaded = load(resolve(causal_folder), dtype="float32").with_model(prompted)
    prompts, answers = [[5, 6, 7], [5, 6, 8, 9, 10]], [[20, 21], [20, 22, 23]]
    assert score_labels(loaded, prompts, answers) == pytest.approx(score_plainly(loaded, prompts, answers))


def test_plain_peft_loads_a_prompt(prompted, causal_folder, tmp_path):
    loaded = load(resolve(causal_folder), dtype="float32")
    save_adapter(loaded.with_model(prompted), tmp_path)
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(causal_folder), str(tmp_path))
    ids = torch.arange(5, 12)[None]
    torch.testing.assert_close(theirs(input_ids=ids).logits[:, 4:], prompted(ids).logits)


def test_the_vectors_start_where_they_are_told_to(causal):
    table = causal.get_input_embeddings().weight.detach().clone()
    model = build("adapter", "prompt", {"vectors": 5, "start": [7, 9]}).attach(causal)
    assert torch.equal(next(iter(trainable(model).values())), table[[7, 9, 7, 9, 7]])


@pytest.mark.parametrize("start", [[], [-1], [400000]])
def test_a_start_of_tokens_that_are_not_there(causal, start):
    with pytest.raises(OptionError, match="start"):
        build("adapter", "prompt", {"start": start}).attach(causal)


def test_an_encoder_takes_no_prompt(pooled):
    with pytest.raises(ModelError, match="no language model"):
        build("adapter", "prompt").attach(pooled)


@pytest.mark.parametrize("name", ["bottleneck", "compacter"])
def test_networks_start_as_nothing_and_stand_after_both_parts_of_each_layer(causal, pooled, name):
    ids = torch.arange(10)[None]
    before = causal.eval()(ids).logits
    model = build("adapter", name).attach(causal)
    assert torch.equal(model(ids).logits, before)
    assert [n.split("layers.")[1] for n in model.graft.layers] == [
        f"{i}.{part}" for i in range(2) for part in ("self_attn.o_proj", "mlp.down_proj")]
    inside = build("adapter", name).attach(pooled).encoder.graft.layers
    assert [n.split("layer.")[1] for n in inside] == [
        f"{i}.{part}" for i in range(2) for part in ("attention.output.dense", "output.dense")]


def test_a_compacter_s_matrix_is_a_sum_of_kronecker_products(causal):
    graft = build("adapter", "compacter", {"width": 8, "thin_rank": 2}).attach(causal).graft
    net = graft.nets[0]
    wanted = sum(torch.kron(graft.shared[i], net.down.left[i] @ net.down.right[i]) for i in range(4))
    torch.testing.assert_close(net.down(graft.shared), wanted)
    assert net.down(graft.shared).shape == (8, 64)


def test_a_compacter_is_a_small_part_of_a_bottleneck(causal):
    plain, small = (build("adapter", name, {"width": 64}).cost(causal) for name in ("bottleneck", "compacter"))
    assert small.parameters < plain.parameters / 20


def test_a_width_that_does_not_divide(causal):
    with pytest.raises(ModelError, match="Kronecker"):
        build("adapter", "compacter", {"width": 6}).attach(causal)
