"""The real small models: obtained, resolved, loaded, and as good as they should be."""

import pytest
import torch

from scrimp.checkpoints.heads import pool
from scrimp.checkpoints.loading import fast_bf16, load, resolve
from scrimp.core.assets import obtain

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
