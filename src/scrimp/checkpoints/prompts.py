"""A language model with a soft prompt: PEFT's, saved as PEFT saves, that may stand wherever the plain model stood."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModelForCausalLM
from torch import Tensor

__all__ = ["Prompted"]


class Prompted(PeftModelForCausalLM):
    """Puts the learned vectors before each row and gives logits for the row alone.

    PEFT's own forward pass gives logits for the vectors too, and counts padding as positions, so that what a row gets
    would depend on the rows beside it. Positions count real tokens here, whichever side is padded.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *,  # type: ignore[override]
                labels: Tensor | None = None, position_ids: Tensor | None = None, **kwargs: Any) -> Any:
        """As the base model's; ``position_ids`` are counted anew.

        Raises:
            NotImplementedError: for a mask that is not [B, L], or for a cache, before which there can be no prompt.
        """
        if kwargs.get("past_key_values") is not None or (attention_mask is not None and attention_mask.ndim != 2):
            raise NotImplementedError("a soft prompt stands before whole rows with a plain mask")
        embedded, mask = self._with_prompt(input_ids, attention_mask)
        length, new = input_ids.shape[1], embedded.shape[1] - input_ids.shape[1]
        if labels is not None:
            labels = torch.cat([labels.new_full((len(labels), new), -100), labels], dim=1)
        out = self.base_model(inputs_embeds=embedded, attention_mask=mask, labels=labels,
                              position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0), **kwargs)
        if out.logits.shape[1] > length:
            out.logits = out.logits[:, new:]
        if out.hidden_states is not None:
            out.hidden_states = tuple(states[:, new:] for states in out.hidden_states)
        return out

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """As the base model's: the rows and what follows them."""
        embedded, mask = self._with_prompt(input_ids, attention_mask)
        base: Any = self.base_model
        made = base.generate(inputs_embeds=embedded, attention_mask=mask, **kwargs)
        return torch.cat([input_ids, made], dim=1)

    def _with_prompt(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, P + L, D] and their mask, int64."""
        table: Any = self.word_embeddings
        row = table(ids)
        prompt = self.get_prompt(batch_size=len(ids)).to(row.dtype)
        mask = torch.ones_like(ids) if mask is None else mask
        return torch.cat([prompt, row], dim=1), torch.cat([mask.new_ones(prompt.shape[:2]), mask], dim=1)
