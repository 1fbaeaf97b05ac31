"""The real small models: obtained, resolved, loaded, and as good as they should be."""

import pytest
import torch

from scrimp.checkpoints.exporting import check_export, merge, save_merged
from scrimp.checkpoints.heads import pool
from scrimp.checkpoints.loading import fast_bf16, load, resolve
from scrimp.core.assets import obtain
from scrimp.core.errors import GuardError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def checkpoint():
    assert obtain("smollm2-135m") == obtain("smollm2-135m")
    return resolve("smollm2-135m")


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@torch.inference_mode()
def test_the_language_model_knows_paris(checkpoint, dtype):
    loaded = load(checkpoint, dtype=dtype)
    assert loaded.dtype == ("bfloat16" if dtype == "auto" and fast_bf16() else "float32")
    assert (loaded.kind, loaded.checkpoint.licence) == ("causal", "apache-2.0")
    asked = loaded.tokenizer("The capital of France is", return_tensors="pt")
    made = loaded.model.generate(**asked, max_new_tokens=8, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(made[0, asked["input_ids"].shape[1]:])


@pytest.fixture
def adapted(checkpoint):
    """Makes the model with an adapter of a given size, in bfloat16, and some rows of tokens."""
    from peft import LoraConfig, get_peft_model

    def make(size):
        loaded = load(checkpoint, dtype="bfloat16")
        torch.manual_seed(0)
        model = get_peft_model(loaded.model, LoraConfig(r=8, target_modules="all-linear"))
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=size)
        texts = ("The capital of France is Paris.", "def f(x):", "I hated this film, it was slow and sad.")
        return loaded.with_model(model.eval()), [loaded.tokenizer(text)["input_ids"] for text in texts]

    return make


@pytest.mark.parametrize(("dtype", "allowed"), [(None, 0.5), (torch.float32, 1e-3)])
def test_a_bfloat16_model_is_merged_into_either_type(adapted, tmp_path, dtype, allowed):
    tuned, probes = adapted(0.03)
    save_merged(merge(tuned, dtype=dtype), tmp_path)
    assert check_export(tuned, tmp_path, probes) < allowed


def test_an_adapter_that_rounding_takes_back_is_not_merged(adapted, tmp_path):
    tuned, probes = adapted(0.001)
    save_merged(merge(tuned), tmp_path)
    with pytest.raises(GuardError, match="merging lost what the adapter had learned"):
        check_export(tuned, tmp_path, probes)


def test_numbers_are_split_as_the_model_learned_them(checkpoint):
    tokenizer = load(checkpoint).tokenizer
    assert tokenizer.tokenize("a\n\n12 x") == ["a", "ĊĊ", "1", "2", "Ġx"]


def test_the_language_model_has_its_chat_template(checkpoint):
    tokenizer = load(checkpoint).tokenizer
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False,
                                         add_generation_prompt=True)
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>"


@torch.inference_mode()
def test_the_encoder_knows_cats():
    loaded = load(resolve("minilm"), dtype="float32")
    assert (loaded.kind, loaded.checkpoint.licence) == ("encoder", "apache-2.0")
    rows = loaded.tokenizer(["a cat", "a kitten", "the stock market fell"], return_tensors="pt", padding=True)
    states = loaded.model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state
    cat, kitten, stocks = torch.nn.functional.normalize(pool(states, rows["attention_mask"], "mean"), dim=-1)
    assert cat @ kitten > 0.6 > 0.3 > cat @ stocks
