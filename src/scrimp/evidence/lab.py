"""The lab: a seed, a bill, cached small models and real data for whoever tries a claim.

Whatever is drawn is drawn by the lab's seed. Models that take long are made once and kept in the cache.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from scrimp.core.assets import cache, obtain
from scrimp.core.budget import Meter
from scrimp.core.errors import OptionError, nearest
from scrimp.core.progress import quiet
from scrimp.core.workspace import fingerprint
from scrimp.examples.templates import Encoded

if TYPE_CHECKING:
    from torch import nn

    from scrimp.checkpoints.loading import Loaded
    from scrimp.signals import Signals

__all__ = ["Lab"]

RECIPES = 2  #: bumped by hand when a cached model or tokenizer is to be made anew; then every result is stale
VOCABULARY = 4096
UNSEEN = ("comp.graphics", "rec.sport.hockey", "sci.med", "soc.religion.christian", "talk.politics.mideast")
_GENERAL: dict[str, Any] = {"steps": 2100, "batch_size": 4, "learning_rate": 5e-3}
_EXPERT: dict[str, Any] = {"steps": 150, "batch_size": 4, "learning_rate": 2e-3}
_ADDER: dict[str, Any] = {"steps": 50, "batch_size": 16, "learning_rate": 5e-3}
_BLOCK = 128
_FEATURE_TOKENS = 64  # of a text, read by MiniLM: enough for its topic, and four times as fast as 256

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Lab:
    """What one arm is tried with, under one seed.

    Attributes:
        seed: of everything that is drawn.
        rng: a generator of that seed.
        smoke: whether only the working is to be seen, at toy scale.
        meter: the bill; `tune` writes on it by itself.
        unseen: the newsgroups that the language model was not trained on.
    """

    unseen = UNSEEN

    def __init__(self, seed: int, *, smoke: bool = False) -> None:
        self.seed, self.smoke = seed, smoke
        self.rng, self.meter = np.random.default_rng(seed), Meter()

    # -- the scale and the bill ----------------------------------------------------------------------------------

    def scale(self, full: Any, smoke: Any) -> Any:
        """The one or the other, by whether this is only a smoke test."""
        return smoke if self.smoke else full

    def spent(self, *, forward: int = 0, backward: int = 0) -> None:
        """Put training work on the bill: examples or tokens, of the same unit in all arms."""
        self.meter.charge(tokens_forward=forward, tokens_backward=backward)

    # -- real data -----------------------------------------------------------------------------------------------

    def domains(self) -> list[str]:
        """The 20 newsgroups."""
        return sorted({label for _, label in _newsgroups()[0]})

    def texts(self, domain: str | None = None, part: str = "train") -> list[str]:
        """Newsgroup posts, in lower case and without punctuation; of one group, or of all.

        Raises:
            OptionError: no such group.
        """
        if domain is not None and domain not in self.domains():
            raise OptionError(f"there is no newsgroup '{domain}'; {nearest(domain, self.domains())}")
        rows = _newsgroups()[part == "test"]
        return [text for text, label in rows if domain in (None, label)]

    def classes(self, name: str, per_class: int, test: int) -> tuple[list[str], np.ndarray, list[str], np.ndarray]:
        """Texts of a data set and their classes: ``per_class`` of each to train on, ``test`` in all to test on."""
        from scrimp.examples.datasets import DATASETS

        train, held_out = DATASETS[name].load(obtain(DATASETS[name].asset))
        names, draw = sorted({label for _, label in train}), random.Random(self.seed)
        chosen = [pair for label in names for pair in draw.sample([p for p in train if p[1] == label], per_class)]
        draw.shuffle(chosen)
        tested = draw.sample(held_out, min(test, len(held_out)))
        number = {label: i for i, label in enumerate(names)}
        return ([t for t, _ in chosen], np.array([number[c] for _, c in chosen]),
                [t for t, _ in tested], np.array([number[c] for _, c in tested]))

    def features(self, name: str, per_class: int, test: int) -> Split:
        """The rows of `classes` as frozen MiniLM features, float32 [N, 384]."""
        texts, y, test_texts, test_y = self.classes(name, per_class, test)

        def make(folder: Path) -> None:
            from scrimp.signals.embeddings import embed_texts

            x = embed_texts(self.minilm(), texts + test_texts, max_tokens=_FEATURE_TOKENS)
            np.save(folder / "features.npy", x)

        kept = cache().step("lab-features", [RECIPES, texts, test_texts], make)
        x = np.load(kept / "features.npy", allow_pickle=False)
        return x[:len(texts)], y, x[len(texts):], test_y

    def selected(self, method: str, features: np.ndarray, keep: int, *, seed: int | None = None,
                 **options: Any) -> np.ndarray:
        """The ``keep`` rows of frozen features [N, D] that a selector keeps by them alone."""
        from scrimp.core.registry import build
        from scrimp.examples.formats import read

        signals: Any = SimpleNamespace(embeddings=lambda rows: features)
        pool = read([{"text": str(i)} for i in range(len(features))])
        return build("selection", method, options).select(pool, keep, signals=signals,
                                                          seed=self.seed if seed is None else seed).indices

    def digits(self, train: int, test: int) -> Split:
        """Handwritten digits of 8x8 pixels, float32 [N, 1, 8, 8] in [0, 1]; 1,797 in all."""
        from sklearn.datasets import load_digits

        found = load_digits()
        return self._drawn((found.images[:, None] / 16).astype(np.float32), found.target, train, test)

    def mnist(self, train: int, test: int) -> Split:
        """Handwritten digits of 28x28 pixels, float32 [N, 1, 28, 28] in [0, 1]; 5,000 in all."""
        from scrimp.domains.vision import mnist5k

        return self._drawn(*mnist5k(), train, test)

    def _drawn(self, x: np.ndarray, y: np.ndarray, train: int, test: int) -> Split:
        order = np.random.default_rng(self.seed).permutation(len(x))
        first, second = order[:train], order[train:train + test]
        return x[first], y[first].astype(np.int64), x[second], y[second].astype(np.int64)

    def sums(self, count: int, *, terms: int = 2, digits: int = 2, seed: int | None = None) -> list[dict[str, str]]:
        """Additions with one right answer: ``prompt``, ``completion``, and a ``rationale`` that goes digit by digit."""
        draw = random.Random(self.seed if seed is None else seed)
        drawn = [[draw.randrange(10 ** (digits - 1), 10**digits) for _ in range(terms)] for _ in range(count)]
        return [{"prompt": f"{' + '.join(map(str, numbers))} =", "completion": f" {sum(numbers)}",
                 "rationale": f" {_carried(numbers)}"} for numbers in drawn]

    # -- models --------------------------------------------------------------------------------------------------

    def smollm2(self) -> Loaded:
        """SmolLM2-135M-Instruct."""
        return _loaded("smollm2-135m")

    def minilm(self) -> Loaded:
        """The sentence encoder all-MiniLM-L6-v2."""
        return _loaded("minilm")

    def tokenizer(self) -> Any:
        """Byte-level BPE of 4,096 tokens, learned from newsgroup posts; pad and end of text are one token, id 0."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(_tokenizer_folder())

    def blocks(self, texts: Sequence[str], length: int = _BLOCK, count: int | None = None) -> list[Encoded]:
        """Texts in blocks of exactly ``length`` tokens, all of them trained, in an order drawn by the seed."""
        tokenizer = self.tokenizer()
        order = np.random.default_rng(self.seed).permutation(len(texts))
        enough = None if count is None else count * length
        stream: list[int] = []
        for i in order:
            stream += [*tokenizer(texts[i], verbose=False)["input_ids"], tokenizer.eos_token_id]
            if enough is not None and len(stream) >= enough:
                break
        cut = [stream[at:at + length] for at in range(0, len(stream) - length + 1, length)]
        cut = [cut[i] for i in np.random.default_rng(self.seed).permutation(len(cut))]
        return [Encoded(ids=ids, trained=[True] * length, row=i) for i, ids in enumerate(cut[:count])]

    def encoded(self, rows: Sequence[Mapping[str, str]]) -> list[Encoded]:
        """Prompts with their completions and the end token, which are learned; in `tokenizer`'s tokens."""
        tokenizer = self.tokenizer()

        def one(number: int, row: Mapping[str, str]) -> Encoded:
            asked, told = (tokenizer(row[part])["input_ids"] for part in ("prompt", "completion"))
            return Encoded([*asked, *told, 0], [False] * len(asked) + [True] * (len(told) + 1), row=number)

        return [one(number, row) for number, row in enumerate(rows)]

    def scratch(self, layers: int = 4, width: int = 128, heads: int = 4, vocabulary: int = VOCABULARY) -> nn.Module:
        """An untrained decoder over `tokenizer`, or over fewer tokens, float32, its weights drawn by the seed."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(vocab_size=vocabulary, hidden_size=width, intermediate_size=round(width * 8 / 3 / 32) * 32,
                             num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
                             max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
                             pad_token_id=0)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return LlamaForCausalLM(config)

    def language_model(self, *, share: float = 1.0, **shape: int) -> nn.Module:
        """A `scratch` of this shape trained on all newsgroups but `unseen`; the same for all seeds.

        Left as it is, the shape has 1.3 million parameters. With a ``share`` it sees only so much of the texts.
        """
        plan = {**_GENERAL, "steps": round(share * self.scale(_GENERAL["steps"], 20))}

        def make() -> nn.Module:
            own = Lab(0)
            texts = [text for domain in own.domains() if domain not in UNSEEN for text in own.texts(domain)]
            blocks = own.blocks(texts, count=plan["steps"] * plan["batch_size"])
            return own.tune(own.scratch(**shape), blocks, adapter="full", **plan)

        return _kept("lab-language-model", [RECIPES, plan, UNSEEN, shape], Lab(0).scratch(**shape), make)

    def expert(self, domain: str) -> nn.Module:
        """`language_model`, all of it tuned on one newsgroup; another one for each seed."""
        plan = {**_EXPERT, "steps": self.scale(_EXPERT["steps"], 4)}

        def make() -> nn.Module:
            own = Lab(self.seed)
            return own.tune(self.language_model(), own.blocks(own.texts(domain)), adapter="full", **plan)

        return _kept("lab-expert", [RECIPES, _GENERAL, plan, domain, self.seed], self.language_model(), make)

    def carries(self, train: int, test: int) -> tuple[nn.Module, list[Encoded], list[Encoded]]:
        """`language_model`, all of it tuned to add, and additions in which it is to learn to write the carries down.

        The model adds first, one for each seed, because the embeddings of digits are rare in its texts, and most of
        what is tried with this task leaves embeddings as they are.

        Returns:
            The model; rows to learn from; held-out rows.
        """
        plan = {**_ADDER, "steps": self.scale(_ADDER["steps"], 2)}

        def make() -> nn.Module:
            own = Lab(self.seed, smoke=self.smoke)
            rows = own.encoded(own.sums(plan["steps"] * plan["batch_size"]))
            return own.tune(own.language_model(), rows, adapter="full", **plan)

        model = _kept("lab-adder", [RECIPES, _GENERAL, plan, self.seed], self.language_model(), make)
        learned, held_out = (self.encoded([{**row, "completion": row["rationale"]} for row in rows])
                             for rows in (self.sums(train), self.sums(test, seed=self.seed + 10_000)))
        return model, learned, held_out

    # -- training and measuring ----------------------------------------------------------------------------------

    def tune(self, model: nn.Module, rows: Sequence[Encoded], *, pad_id: int = 0,
             validate: Callable[[], float] | None = None, **plan: Any) -> nn.Module:
        """Train with the product's own trainer.

        Args:
            model: to which the plan's adapter is attached; changed in place.
            rows: what is learned.
            plan: as in ``scrimp tune``: adapter, optimizer, learning_rate, schedule, objective, steps, batch_size ...
            validate: see `scrimp.tuning.trainer.train`.

        Returns:
            The model with its adapter, in evaluation mode.
        """
        from scrimp.tuning.plan import TunePlan

        made = TunePlan.parse({**plan, "seed": self.seed}, where="lab.tune")
        attached = made.attach(model)
        with tempfile.TemporaryDirectory() as folder, quiet():
            made.train(attached, rows, pad_id=pad_id, folder=Path(folder), meter=self.meter, validate=validate)
        return attached.eval()

    def signals(self, model: nn.Module) -> Signals:
        """What is known of rows by a model over `tokenizer`, in float32; the passes are on the bill."""
        from scrimp.checkpoints.loading import load, resolve
        from scrimp.signals import Signals

        def write(folder: Path) -> None:
            model.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer().save_pretrained(folder)

        weights = {name: fingerprint(value.numpy().tobytes()) for name, value in model.state_dict().items()}
        loaded = load(resolve(cache().step("lab-signals", [RECIPES, weights], write)), dtype="float32")

        class InFull(Signals):
            def language(self, name: str | None = None) -> Loaded:
                return loaded

        return InFull(model=loaded.checkpoint, meter=self.meter)

    def loss(self, model: nn.Module, rows: Sequence[Encoded], *, pad_id: int = 0, objective: str = "sft") -> float:
        """Nats a trained token on held-out rows; measuring is not on the bill."""
        from scrimp.core.registry import build
        from scrimp.tuning.validation import mean_loss

        return mean_loss(model, rows, objective=build("objective", objective), pad_id=pad_id, micro_tokens=4096)

    def directions(self, encoder: Loaded, texts: Sequence[str], *, max_tokens: int = 48) -> np.ndarray:
        """Embeddings of texts, of unit length, float32 [N, width]."""
        from scrimp.signals.embeddings import embed_texts

        found = embed_texts(encoder, texts, max_tokens=max_tokens)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


_KEPT: dict[str, Any] = {}


def _newsgroups() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    if "newsgroups" not in _KEPT:
        from scrimp.examples.datasets import DATASETS

        _KEPT["newsgroups"] = DATASETS["20newsgroups"].load(obtain("20newsgroups"))
    return _KEPT["newsgroups"]


def _loaded(name: str) -> Loaded:
    from scrimp.checkpoints.loading import load, resolve

    return load(resolve(name))


def _tokenizer_folder() -> Path:
    def make(folder: Path) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<end>"], show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        raw.train_from_iterator((text for text, _ in _newsgroups()[0]), trainer)
        PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<end>").save_pretrained(folder)

    return cache().step("lab-tokenizer", [RECIPES, VOCABULARY], make)


def _kept(kind: str, inputs: Any, model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """``model`` with the weights that ``make`` gave when it was first asked."""
    from safetensors.torch import load_file, save_file

    def write(folder: Path) -> None:
        found = {name: tensor.contiguous() for name, tensor in make().state_dict().items()}
        save_file({name: found[name] for name in found if name != "lm_head.weight"}, folder / "weights.safetensors")

    weights = load_file(cache().step(kind, inputs, write) / "weights.safetensors")
    model.load_state_dict(weights, strict=False)
    model.tie_weights()  # type: ignore[operator]
    return model.eval()


def _carried(numbers: Sequence[int]) -> str:
    """An addition as it is done by hand, from the last digit on."""
    told, carry = [], 0
    for place in range(len(str(max(numbers)))):
        column = [number // 10**place % 10 for number in numbers]
        total = sum(column) + carry
        carried = f" + {carry}" if carry else ""
        told.append(f"{' + '.join(map(str, column))}{carried} = {total}")
        carry = total // 10
    return " ; ".join(told)
