"""What a folder has to serve: its models by name, and those of one base, however many adapters, over one copy of it."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scrimp.checkpoints.exporting import ADAPTER_CONFIG, load_adapter
from scrimp.checkpoints.grafts import GRAFT_CONFIG
from scrimp.checkpoints.heads import HEAD_CONFIG
from scrimp.checkpoints.loading import Checkpoint, Dtype, Loaded, load, resolve
from scrimp.checkpoints.lowrank import LowRankAdapter, read_low_rank
from scrimp.checkpoints.quantized import Bits, quantize
from scrimp.checkpoints.validation import CONFIG, read_object
from scrimp.compute.mixed import MixedAdapters
from scrimp.core.errors import ModelError, OptionError
from scrimp.core.progress import warn
from scrimp.serving.base import MANIFEST, Manifest, Predictor, read_manifest
from scrimp.serving.continuous import RunningBatch, context_of
from scrimp.serving.language import Asked, Generator, LabelScorer, bits_here
from scrimp.serving.predictors import KINDS, base_of, load_predictor

__all__ = ["Host", "Served", "gather", "members"]

_NAME = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_MOST = 1024  # models of one folder


@dataclass(eq=False)
class Host:
    """One model in memory, and all that is served over it. One thread uses it at a time, but for `asking`.

    Attributes:
        loaded: the model.
        adapters: low-rank ones, by name.
        batch: what decodes; None of an encoder.
        mixed: the adapters over the model.
        longest: tokens of a text to embed, at most; the model may take less.
    """

    loaded: Loaded
    adapters: dict[str, LowRankAdapter] = field(default_factory=dict)
    batch: RunningBatch | None = None
    mixed: MixedAdapters | None = None
    longest: int = 2048

    def __post_init__(self) -> None:
        self._lock, self._tokenizer = threading.Lock(), copy.deepcopy(self.loaded.tokenizer)

    @contextmanager
    def asking(self) -> Iterator[Any]:
        """A tokenizer of one's own for a while: setting how it cuts while another thread reads breaks it."""
        with self._lock:
            yield self._tokenizer

    def open(self, *, bits: Bits, rows: int, context: int) -> None:
        """Put the adapters over the model, and see that rows get together what they get alone."""
        self.longest = context
        if bits == 4:
            quantize(self.loaded.model)
        if self.adapters:
            self.mixed = MixedAdapters(self.loaded.model, self.adapters)
        if self.loaded.kind == "causal":
            batch = RunningBatch(self.loaded, self.mixed, rows=rows, context=context)
            try:
                batch.check()
                self.batch = batch
            except ModelError as error:
                warn(f"{error.told()}\nit writes no text here")

    @contextmanager
    def under(self, adapter: str | None) -> Iterator[None]:
        """Within the block the model is the adapted one."""
        if self.mixed is None:
            yield
            return
        with self.mixed.all_rows(adapter):
            yield


@dataclass(frozen=True)
class Served:
    """One model as it is asked for by name.

    Attributes:
        name: of the model.
        host: what computes; None of what asks no model, such as counts of words.
        adapter: over the host's model; None is the model as it is.
        predictor: what chooses a label, or knows how the model was tuned; None of a bare model or adapter.
    """

    name: str
    host: Host | None
    adapter: str | None = None
    predictor: Predictor | None = None

    @property
    def writes(self) -> bool:
        """Whether it gives text."""
        return self.host is not None and self.host.batch is not None and not self.labels

    @property
    def labels(self) -> tuple[str, ...]:
        """What it chooses from; empty where it chooses no label."""
        return self.predictor.labels if self.predictor else ()

    @property
    def embeds(self) -> bool:
        """Whether it gives vectors."""
        return self.host is not None

    def classify(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """A label, or several, and the probabilities of all, for each text."""
        assert self.predictor is not None
        rows = [{"text": text} for text in texts]
        if self.host is None:
            return self.predictor.predict(rows)
        with self.host.under(self.adapter):
            return self.predictor.predict(rows)

    def sizes(self, texts: Sequence[str]) -> tuple[int, list[int]]:
        """How many tokens the model reads of a text to embed, and how many each text has."""
        from scrimp.signals.embeddings import hidden_states_of

        assert self.host is not None
        most = min(self.host.longest, context_of(hidden_states_of(self.host.loaded.model)))
        with self.host.asking() as tokenizer:
            return most, [len(tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
                          for text in texts]

    def embed(self, texts: Sequence[str], max_tokens: int) -> list[list[float]]:
        """The mean of the last states of each text."""
        from scrimp.signals.embeddings import embed_texts

        assert self.host is not None
        with self.host.under(self.adapter):
            return embed_texts(self.host.loaded, texts, max_tokens=max_tokens).tolist()


def members(folder: Path) -> dict[str, Path]:
    """The models of a folder by name: its own, or those of its sub-folders.

    Raises:
        ModelError: if there is none, too many, or one whose name no request could give.
    """
    try:
        own = _model_in(folder)
        inner = [] if own else sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise ModelError("cannot be read", where=str(folder), why=error.strerror) from None
    found = {folder.resolve().name: own} if own else {path.name: model for path in inner if (model := _model_in(path))}
    if not found:
        raise ModelError("there is no model in this folder", where=str(folder),
                         fix="name what scrimp fit or tune wrote, a PEFT adapter, a model, or a folder of such folders")
    if len(found) > _MOST:
        raise ModelError(f"{len(found)} models are more than the {_MOST} that are served at once", where=str(folder))
    if bad := [name for name in found if not _NAME.fullmatch(name)]:
        raise ModelError(f"'{bad[0]}' is no name for a model", where=str(folder),
                         fix="name the folder by letters, digits, dots, dashes and underscores")
    return found


def _model_in(folder: Path) -> Path | None:
    """Where the model of a folder lies: the folder, that of a run in it, or nowhere."""
    if (folder / "model" / MANIFEST).is_file():
        return folder / "model"
    return folder if any((folder / name).is_file() for name in (MANIFEST, ADAPTER_CONFIG, CONFIG)) else None


def gather(folder: Path, *, base: str | None = None, dtype: Dtype | None = None, rows: int = 16,
           context: int = 2048) -> dict[str, Served]:
    """Load everything that a folder has to serve; afterwards no file is read any more.

    Args:
        folder: see `members`. Nothing in it is run, and everything is checked.
        base: where the base model is here, if not where the folder says.
        dtype: of the models that adapters share; None takes what each was scored in.
        rows, context: see `RunningBatch`.

    Raises:
        ModelError, GuardError: see `load_predictor`, `read_low_rank` and `RunningBatch.check`.
    """
    return _Gathering(base, dtype, rows, context).all_of(members(Path(folder)))


class _Gathering:
    """Models with what they share."""

    def __init__(self, base: str | None, dtype: Dtype | None, rows: int, context: int) -> None:
        self._base, self._dtype, self._rows, self._context = base, dtype, rows, context
        self._hosts: dict[tuple[str, str, Bits], Host] = {}
        self._own: list[Host] = []
        self._later: list[tuple[str, Path, Manifest, Host]] = []
        self._served: dict[str, Served] = {}

    def all_of(self, found: Mapping[str, Path]) -> dict[str, Served]:
        for name, path in found.items():
            if (path / MANIFEST).is_file():
                self._tuned(name, path)
            elif (path / ADAPTER_CONFIG).is_file():
                self._peer(name, path)
            else:
                self._served[name] = Served(name, self._shared(resolve(path), "auto", 16))
        for (_, _, bits), host in self._hosts.items():
            host.open(bits=bits, rows=self._rows, context=self._context)
        for host in self._own:
            host.open(bits=16, rows=self._rows, context=self._context)
        for name, path, manifest, host in self._later:  # templates are compared over the model as it is served
            cls: Any = KINDS[manifest.kind]
            adapter = name if name in host.adapters else None
            self._served[name] = Served(name, host, adapter, cls.over(host.loaded, path, manifest))
        self._add_bases()
        return {name: self._served[name] for name in sorted(self._served)}

    def _tuned(self, name: str, path: Path) -> None:
        """What `Predictor.save` wrote."""
        manifest = read_manifest(path, list(KINDS))
        if KINDS[manifest.kind] in (Generator, LabelScorer) and not any(
                (path / one).exists() for one in (CONFIG, GRAFT_CONFIG, HEAD_CONFIG)):
            checkpoint = manifest.needed(base_of(manifest, path, elsewhere=self._base))
            host = self._shared(checkpoint, manifest.dtype, bits_here(manifest))
            if self._takes(host, name, path):
                self._later.append((name, path, manifest, host))
                return
        predictor = load_predictor(path, base=self._base)
        loaded = predictor.loaded
        host_of_own = None if loaded is None else Host(loaded)
        if host_of_own is not None:
            self._own.append(host_of_own)
        if predictor.labels or isinstance(predictor, Asked):
            self._served[name] = Served(name, host_of_own, None, predictor)
        else:
            warn(f"{name}: a {predictor.kind} that chooses no labels is not served; scrimp predict uses it")

    def _peer(self, name: str, path: Path) -> None:
        """An adapter that says nothing of how it was tuned."""
        told = read_object(path / ADAPTER_CONFIG).get("base_model_name_or_path")
        if self._base is None and not isinstance(told, str):
            raise ModelError("the adapter does not say what base it is for", where=str(path), fix="give --base")
        checkpoint = resolve(self._base or str(told))
        host = self._shared(checkpoint, "auto", 16)
        if not self._takes(host, name, path):
            host = Host(load_adapter(load(checkpoint, dtype=self._dtype or "auto"), path))
            self._own.append(host)
        self._served[name] = Served(name, host, name if name in host.adapters else None)

    def _takes(self, host: Host, name: str, path: Path) -> bool:
        """Whether a model is the host's own, or that under an adapter that can be mixed, which is taken up then."""
        if not (path / ADAPTER_CONFIG).is_file():
            return True
        found = read_low_rank(path, host.loaded.model)
        if found is not None:
            host.adapters[name] = found
        return found is not None

    def _shared(self, checkpoint: Checkpoint, dtype: Dtype, bits: Bits) -> Host:
        key = (checkpoint.fingerprint, self._dtype or dtype, bits)
        if key not in self._hosts:
            self._hosts[key] = Host(load(checkpoint, dtype=self._dtype or dtype))
        return self._hosts[key]

    def _add_bases(self) -> None:
        """The models under the adapters, by the last part of their names, where that is free."""
        for host in self._hosts.values():
            name = Path(host.loaded.checkpoint.name).name
            if _NAME.fullmatch(name) and not any(one.host is host and one.adapter is None
                                                 for one in self._served.values()):
                self._served.setdefault(name, Served(name, host))
        if not self._served:
            raise OptionError("nothing in this folder can be served")
