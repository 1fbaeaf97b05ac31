"""Many streams at once at `scrimp serve`, for a while: what fails, what is told to come back, speed and memory.

    python -m benchmarks.serving.load [--streams 200] [--seconds 120] [--rows 32] [--queue 128] [--out FILE]

SmolLM2-135M as this machine computes it by default, alone and under four LoRA adapters of ranks 2 to 16 that are drawn
by chance; server and clients share what they are pinned to. Each stream asks for a chat completion of 32 tokens, again
and again, of one model after the other. A stream that is told to come back (429) waits for as long as it is told. All
else that is no whole answer is an error. Memory is the server's resident size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from scrimp.core.workspace import atomic_write

RANKS = (2, 4, 8, 16)
NEW_TOKENS = 32
_ASKED = ("Tell me about the sea.", "Write a line about autumn.", "What is a good name for a cat, and why?",
          "Explain in simple words how bread is made, and what the yeast does in the dough while it rests.")
_EVERY_S = 1.0


@dataclass
class Seen:
    """What the clients saw."""

    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    tokens: int = 0
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)


def write_adapters(folder: Path) -> None:
    """Four adapters over SmolLM2, as PEFT saves them."""
    import torch

    from scrimp.checkpoints.exporting import save_adapter
    from scrimp.checkpoints.loading import load, resolve
    from scrimp.core.registry import build

    for seed, rank in enumerate(RANKS):
        loaded = load(resolve("smollm2-135m"), dtype="float32")
        model: Any = build("adapter", "lora", {"rank": rank}).attach(loaded.model, seed=seed)  # type: ignore[attr-defined]
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter += 0.01 * torch.randn(parameter.shape, generator=chance)
        save_adapter(loaded.with_model(model), folder / f"rank-{rank}")


async def stream(client: httpx.AsyncClient, number: int, models: list[str], ends: float, seen: Seen) -> None:
    """One after the other until the time is over."""
    turn = number
    while time.monotonic() < ends:
        model, asked = models[turn % len(models)], _ASKED[turn % len(_ASKED)]
        turn += 1
        body = {"model": model, "messages": [{"role": "user", "content": asked}], "stream": True, "seed": turn,
                "max_tokens": NEW_TOKENS, "stream_options": {"include_usage": True}}
        try:
            await _asked(client, body, model, seen)
        except httpx.HTTPError as error:
            seen.errors[type(error).__name__] += 1
            await asyncio.sleep(1.0)


async def _asked(client: httpx.AsyncClient, body: dict[str, Any], model: str, seen: Seen) -> None:
    begun, first, usage, whole = time.monotonic(), 0.0, 0, False
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code == 429:
            seen.refused += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
            return
        if answer.status_code != 200:
            seen.errors[f"status {answer.status_code}"] += 1
            return
        async for line in answer.aiter_lines():
            first = first or time.monotonic() - begun
            if '"usage"' in line:
                usage = json.loads(line.removeprefix("data: "))["usage"]["completion_tokens"]
            whole = whole or line == "data: [DONE]"
    if not whole:
        seen.errors["cut off"] += 1
        return
    seen.first_s.append(first)
    seen.whole_s.append(time.monotonic() - begun)
    seen.tokens += usage
    seen.by_model[model] += 1


async def _watched(process: psutil.Process, sizes: list[int]) -> None:
    while True:
        sizes.append(process.memory_info().rss)
        await asyncio.sleep(_EVERY_S)


async def load_of(url: str, pid: int, streams: int, seconds: float) -> tuple[Seen, list[int], float, str]:
    """What the clients saw, the server's sizes, how long it took, and its own numbers."""
    seen, sizes, begun = Seen(), list[int](), time.monotonic()
    limits = httpx.Limits(max_connections=streams + 8, max_keepalive_connections=streams + 8)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        models = [card["id"] for card in (await client.get("/v1/models")).json()["data"]]
        watching = asyncio.create_task(_watched(psutil.Process(pid), sizes))
        ends = begun + seconds
        await asyncio.gather(*(stream(client, number, models, ends, seen) for number in range(streams)))
        took = time.monotonic() - begun
        watching.cancel()
        page = (await client.get("/metrics")).text
    return seen, sizes, took, page


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start a server, load it, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        write_adapters(Path(folder))
        command = [sys.executable, "-m", "scrimp", "serve", folder, "--port", "0", "--rows", str(arguments.rows),
                   "--queue", str(arguments.queue), "--timeout", "300", "--context", "512"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "COLUMNS": "1000"}) as server:
            assert server.stderr is not None
            told = next((line for line in server.stderr if line.startswith("serving")), "")
            found = re.search(r"http://\S+", told)
            if found is None:
                raise SystemExit("the server did not start")
            seen, sizes, took, page = asyncio.run(load_of(found[0], server.pid, arguments.streams, arguments.seconds))
            server.terminate()
            server.communicate(timeout=60)
        return {**_told(seen, sizes, took, page), "exit_code": server.returncode,
                "settings": {"streams": arguments.streams, "seconds": arguments.seconds, "rows": arguments.rows,
                             "queue": arguments.queue, "new_tokens": NEW_TOKENS, "ranks": RANKS},
                "machine": {"processor": platform.machine(), "cores": len(os.sched_getaffinity(0))},
                "versions": {name: version(name) for name in ("torch", "transformers", "fastapi", "uvicorn")}}


def _told(seen: Seen, sizes: list[int], took: float, page: str) -> dict[str, Any]:
    numbers = {name: float(value) for name, value in re.findall(r"^scrimp_(\w+) ([\d.e+]+)$", page, re.M)}
    half = len(sizes) // 2
    return {"answers": len(seen.whole_s), "by_model": dict(sorted(seen.by_model.items())),
            "told_to_come_back": seen.refused, "errors": dict(seen.errors), "seconds": round(took, 1),
            "tokens_a_second": round(seen.tokens / took, 1),
            "rows_a_step": round(numbers["step_rows_total"] / max(numbers["steps_total"], 1), 1),
            "first_token_s": _quantiles(seen.first_s), "whole_answer_s": _quantiles(seen.whole_s),
            "resident_mib": {"first": sizes[0] >> 20, "highest_of_first_half": max(sizes[:half]) >> 20,
                             "highest_of_second_half": max(sizes[half:]) >> 20, "last": sizes[-1] >> 20}}


def _quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 2) for share in (50, 95, 99)} if values else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--queue", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("load.json"))
    arguments = parser.parse_args()
    found = measured(arguments)
    atomic_write(arguments.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
