"""Tokenizers for the tests of templates: small, real, and some of them awkward."""

from __future__ import annotations

from functools import cache
from typing import Any

import tiny

#: as SmolLM2-Instruct's: a system message of its own unless there is one
SMOL = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: with tools, tool calls, and texts stripped of the space around them
TOOLED = (
    "{% if tools %}{{ '<|im_start|>tools\\n' }}{{ tools | tojson }}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: writes an earlier answer differently once the conversation goes on
FICKLE = (
    "{% for m in messages %}{{ m['role'] + ':' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ 'thinking ' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
ENDLESS = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\\n' }}{% endfor %}" \
          "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
REFUSING = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + tiny.CHATML


@cache
def chat(template: str = tiny.CHATML) -> Any:
    """A byte-level tokenizer with that chat template; its pad token is its end token."""
    made = tiny.tokenizer(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = template
    return made


@cache
def plain() -> Any:
    """A tokenizer without a chat template that puts a begin token before every text."""
    from tokenizers.processors import TemplateProcessing

    made = tiny.tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", made.bos_token_id)])
    assert made("a")["input_ids"][0] == made.bos_token_id
    return made


@cache
def encoder() -> Any:
    """A tokenizer that marks texts as BERT's does."""
    from tokenizers.processors import TemplateProcessing

    made = tiny.tokenizer(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
                          mask_token="[MASK]")
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", made.cls_token_id), ("[SEP]", made.sep_token_id)])
    return made


class Deaf:
    """A tokenizer that makes control tokens of texts even when it is asked not to."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, text: str, **options: Any) -> Any:
        return self._inner(text, **{**options, "split_special_tokens": False})

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
