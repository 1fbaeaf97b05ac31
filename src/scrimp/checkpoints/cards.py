"""The model card: a README beside what is shipped, with everything that a stranger must know of it.

What comes from data or options is escaped, so that no row, label or name can change the page or its front matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

__all__ = ["card", "exported"]

_BASE = "from scrimp.checkpoints.loading import resolve  # or name the base model's folder or hub id yourself"
_USE = {
    "adapter": '''```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
{find}

base = resolve({base}).path
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), ".")
tokenizer = AutoTokenizer.from_pretrained(base)
```''',
    "pooled": '''```python
import json

from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer
{find}

base = resolve({base}).path
encoder = PeftModel.from_pretrained(AutoModel.from_pretrained(base), ".")
head, told = load_file("head.safetensors"), json.load(open("head.json"))
inputs = AutoTokenizer.from_pretrained(base)("A text.", return_tensors="pt")
mask = inputs["attention_mask"][..., None]
pooled = (encoder(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
if told.get("unit"):
    pooled = pooled / pooled.norm(dim=-1, keepdim=True)
said = (pooled @ head["weight"].T + head["bias"])[0]
print({answer})
```''',
}
_ANSWERS = {  # of pooled heads
    "label": 'told["labels"][int(said.argmax())]',
    "labels": '[label for label, share in zip(told["labels"], said.sigmoid()) if share >= told["threshold"]]',
    "score": 'told["scale"][0] + told["scale"][1] * float(said)',
}

_REMEMBERED = "- this folder holds these rows as texts: pass it on only to those who may read them"
_HEADING = "## Loading it with plain libraries"
_EXPORTED = {
    "gguf": '''A GGUF file for llama.cpp and what stands on it. Read back by transformers, its logits were at most
{difference:.2g} away from those of the model that was evaluated, in float32. In this folder:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", gguf_file={file})
tokenizer = AutoTokenizer.from_pretrained(".", gguf_file={file})
```''',
    "onnx": '''An ONNX graph. Its probabilities were at most {difference:.2g} away from those of the classifier in
float32. In this folder:

```python
import json

import onnxruntime
from transformers import AutoTokenizer

session, labels = onnxruntime.InferenceSession({file}), json.load(open("labels.json"))["labels"]
tokenizer = AutoTokenizer.from_pretrained(".")
inputs = tokenizer(["A text.", "Another one."], padding=True, truncation=True, split_special_tokens=True,
                   return_tensors="np")
asked = {{name: inputs[name].astype("int64") for name in ("input_ids", "attention_mask")}}
probabilities, embeddings = session.run(["probabilities", "embeddings"], asked)
print([labels[i] for i in probabilities.argmax(1)])
```''',
}


def exported(card: str, form: str, *, file: str, difference: float) -> str:
    """The card of a run, with how the exported ``file`` is loaded in place of how the adapter was.

    Args:
        form: ``"gguf"`` or ``"onnx"``.
        difference: what the comparison with the evaluated model found.
    """
    before, found, after = card.partition(f"{_HEADING}\n")
    if not found:
        before, _, after = card.partition("## Scores\n")
        after = f"## Scores\n{after}"
    told = _EXPORTED[form].format(file=json.dumps(file), difference=difference)
    return f"{before}{_HEADING}\n\n{told}\n\n{after[after.index('## Scores'):]}"


def card(facts: Mapping[str, Any]) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        facts: ``name`` (a title), ``base`` (name of the base model or None), ``licence`` (SPDX identifier or None),
            ``data`` (hash of the training rows), ``rows`` (how many), ``recipe`` (the choices), ``budget``, ``scores``
            (``Score``-like objects: metric, value, low, high, n), ``retention`` (``Retention``-like or None),
            ``warnings``, ``remembers`` (whether the folder holds the rows), ``loads``: ``"adapter"``, ``"pooled"`` or
            None for what plain libraries can open, and ``answers``: ``"label"``, ``"labels"`` or ``"score"``, of what
            is pooled.
    """
    parts = [_front_matter(facts), f"# {_inline(facts['name'])}", "Made with scrimp. Load it with `scrimp predict`, "
             "`scrimp evaluate` or `scrimp.predict(run=..., data=...)`."]
    if loads := _USE.get(facts.get("loads") or ""):
        code = loads.format(base=json.dumps(facts["base"]), find=_BASE, answer=_ANSWERS[facts.get("answers", "label")])
        parts += [_HEADING, "In this folder:", code]
    parts += ["## Scores", _scores(facts["scores"]), "## What was forgotten", _retention(facts.get("retention")),
              "## How it was made", _made(facts)]
    if facts.get("warnings"):
        parts += ["## Warnings", "\n".join(f"- {_inline(warning)}" for warning in facts["warnings"])]
    return "\n\n".join(parts) + "\n"


def _front_matter(facts: Mapping[str, Any]) -> str:
    told = {"license": facts.get("licence") or "unknown", "base_model": facts.get("base"), "tags": ["scrimp"]}
    written = yaml.safe_dump({k: v for k, v in told.items() if v is not None}, sort_keys=False, allow_unicode=True)
    return f"---\n{written}---"


def _scores(scores: Iterable[Any]) -> str:
    rows = [f"| {_inline(s.metric)} | {s.value:.4g} | {s.low:.4g} to {s.high:.4g} | {s.n} |" for s in scores if s]
    if not rows:
        return "It was not scored: there were too few rows."
    return "\n".join(["| metric | value | 95 % interval | rows |", "| --- | --- | --- | --- |", *rows])


def _retention(found: Any) -> str:
    if found is None:
        return "Nothing: it changes no model, or it was not measured."
    told = (f"{_inline(found.measure)}: {found.before:.4g} before, {found.after:.4g} after "
            f"(change {found.low:+.4g} to {found.high:+.4g}).")
    if found.skills_after is None:
        return told
    return f"{told} Of {found.skills_n} general questions, {found.skills_before:.0%} before and " \
           f"{found.skills_after:.0%} after were answered right."


def _made(facts: Mapping[str, Any]) -> str:
    recipe = json.dumps(facts["recipe"], ensure_ascii=True, sort_keys=True, default=str)
    budget = json.dumps(facts["budget"], ensure_ascii=True, sort_keys=True, default=str)
    kept = [_REMEMBERED] if facts.get("remembers") else []
    return "\n".join([f"- trained on {facts['rows']} rows, sha256 `{_inline(facts['data'])}`", *kept,
                      f"- recipe: `{_code(recipe)}`", f"- budget: `{_code(budget)}`"])


def _inline(text: Any) -> str:
    """Text that Markdown and HTML take as text, on one line."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$&])", r"\\\1", flat).replace("\\<", "&lt;").replace("\\&", "&amp;")


def _code(text: str) -> str:
    return text.replace("`", "'")
