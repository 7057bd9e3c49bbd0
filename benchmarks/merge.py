"""Merging: Luthier's command against mergekit's, on the same files, in turns.

    python -m benchmarks.merge [--rounds 3] [--kinds linear slerp ties della] [--huge]

The base is SmolLM2-135M of `make models`, written in bf16; its children are the base and small random changes, which
cost what real ones cost. Seconds are those of the whole command, starting Python included; memory is the most that the
process held (ru_maxrss). mergekit checks nothing it wrote, so neither does Luthier here (`--no-check`); what the check
takes is a line of its own. The floor is reading every input once and writing the output once, flushed, in plain Python.
`--huge` merges three checkpoints of a 7B Llama's shape by TIES and tells its memory: 53 GB of disk, some minutes.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks._record import Row, keep, row

OURS, PEER = "luthier", "mergekit"
CHILDREN = ("a", "b", "c")
SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {"weight": [0.5, 0.3, 0.2]},
    "slerp": {"t": 0.4},
    "ties": {"weight": [0.5, 0.3, 0.2], "density": 0.3},
    "della": {"weight": [0.5, 0.3, 0.2], "density": 0.5},
    "dare_ties": {"weight": [0.5, 0.3, 0.2], "density": 0.5},
    "model_stock": {},
}
PER_MODEL = ("weight", "density")
PART = 2**24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(SETTINGS))
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--folder", type=Path, help="Where to work; else the machine's temporary folder.")
    parser.add_argument("--name", default="merge")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if asked.huge:
            keep(asked.name, [huge(folder)], setting={"shape": "Llama 7B, bf16, three models"})
            return
        # In a process of their own: a command's peak begins with what its parent holds.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            models = apart.submit(small_models, folder).result()
        rows = [each for kind in asked.kinds for each in compared(kind, models, folder, asked.rounds)]
    keep(asked.name, rows, setting={"rounds": asked.rounds, "model": "SmolLM2-135M, bf16, base and three children"})


def compared(kind: str, models: dict[str, Path], folder: Path, rounds: int) -> list[Row]:
    """Seconds, memory and seconds over the floor of one kind."""
    recipe = folder / f"{kind}.yaml"
    recipe.write_text(json.dumps(recipe_of(kind, models)))
    read = [path for name, path in models.items() if name != "base" or kind != "linear"][
        : 2 if kind == "slerp" else None
    ]
    found: dict[str, list[tuple[float, float]]] = {OURS: [], PEER: [], "checked": [], "floor": []}
    for number in range(rounds + 1):  # the first warms the disk's cache
        sides = [OURS, PEER, "checked", "floor"]
        for side in sides[number % 2 :] + sides[: number % 2]:
            if side == "floor":
                figures = (floor(read, folder / "floor"), 0.0)
            else:
                figures = timed(command(side, recipe, folder / "out"))
            shutil.rmtree(folder / "out", ignore_errors=True)
            if number:
                found[side].append(figures)
    seconds = {side: statistics.median(each[0] for each in figures) for side, figures in found.items()}
    memory = {side: statistics.median(each[1] for each in figures) for side, figures in found.items()}
    told = {"floor_s": seconds["floor"], "over_floor": round(seconds[OURS] / seconds["floor"], 2)}
    return [
        {**row(f"{kind}: seconds", seconds[OURS], seconds[PEER], peer_name=PEER, unit="s", better="lower"), **told},
        row(f"{kind}: seconds, checked", seconds["checked"], seconds[PEER], peer_name=PEER, unit="s", better="lower"),
        row(f"{kind}: memory", memory[OURS], memory[PEER], peer_name=PEER, unit="MiB", better="lower"),
    ]


def recipe_of(kind: str, models: dict[str, Path]) -> dict[str, Any]:
    """In mergekit's form, which both read; JSON is YAML."""
    settings = SETTINGS[kind]
    children = CHILDREN[:1] if kind == "slerp" else CHILDREN
    listed = []
    for number, child in enumerate(children):
        own = {name: settings[name] for name in PER_MODEL if name in settings}
        own = {name: value[number] if isinstance(value, list) else value for name, value in own.items()}
        listed.append({"model": str(models[child]), **({"parameters": own} if own else {})})
    if kind == "slerp":
        listed.insert(0, {"model": str(models["base"])})
    shared = {name: value for name, value in settings.items() if name not in PER_MODEL}
    based = {} if kind == "linear" else {"base_model": str(models["base"])}
    made = {"merge_method": kind, "models": listed, "dtype": "float32", "out_dtype": "bfloat16", **based}
    return {**made, "parameters": shared} if shared else made


def command(side: str, recipe: Path, output: Path) -> list[str]:
    """The whole command of a side."""
    if side == PEER:
        found = str(Path(sys.executable).parent / "mergekit-yaml")
        return [found, str(recipe), str(output), "--no-write-model-card", "--quiet"]
    ends = [] if side == "checked" else ["--no-check"]
    return [sys.executable, "-m", "luthier", "merge", str(recipe), str(output), *ends]


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and the most MiB that it held."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 1024


def floor(models: list[Path], output: Path) -> float:
    """Seconds to read the models' weights and write as much as one of them holds."""
    begun = time.perf_counter()
    buffer = bytearray(PART)
    written = 0
    for model in models:
        with (model / "model.safetensors").open("rb", buffering=0) as file:
            written = 0
            while num := file.readinto(buffer):
                written += num
    with output.open("wb", buffering=0) as file:
        for start in range(0, written, PART):
            file.write(memoryview(buffer)[: min(PART, written - start)])
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def small_models(folder: Path) -> dict[str, Path]:
    """SmolLM2 in bf16, and three models a little away from it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = Path("build/models/smollm2")
    file = next(where.glob("*.gguf")).name
    base = folder / "base"
    plain = {"gguf_file": file, "quantization_config": GgufConfig(dequantize=True)}
    AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16, **plain).save_pretrained(base)
    AutoTokenizer.from_pretrained(where, gguf_file=file).save_pretrained(base)
    held = load_file(base / "model.safetensors")
    made = {"base": base}
    for number, child in enumerate(CHILDREN):
        generator = torch.Generator().manual_seed(number)
        changed = {name: moved(tensor, generator) for name, tensor in held.items()}
        made[child] = folder / child
        shutil.copytree(base, made[child])
        save_file(changed, made[child] / "model.safetensors", metadata={"format": "pt"})
    return made


def moved(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A little further along each axis, by about a hundredth of a weight's usual size."""
    change = torch.randn(tensor.shape, generator=generator) * tensor.float().std().nan_to_num(0.0) * 0.01
    return (tensor.float() + change).to(tensor.dtype)


def huge(folder: Path) -> Row:
    """The memory of a TIES of three models of a 7B Llama's shape, against the 4 GiB that it must stay under."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        models = dict(zip(("base", "a", "b"), apart.submit(huge_models, folder).result(), strict=True))
    recipe = folder / "huge.yaml"
    listed = [{"model": str(models[name]), "parameters": {"weight": 0.5, "density": 0.3}} for name in ("a", "b")]
    recipe.write_text(json.dumps({"merge_method": "ties", "base_model": str(models["base"]), "models": listed}))
    seconds, memory = timed(command("checked", recipe, folder / "out"))
    made = row("ties of a 7B shape: memory", memory, 4096.0, peer_name="the bound", unit="MiB", better="lower")
    return {**made, "seconds": seconds}


def huge_models(folder: Path, num_layers: int = 32) -> list[Path]:
    """Random bf16 weights of Llama 7B's shapes, a shard for each block."""
    from transformers import LlamaConfig

    config = LlamaConfig(num_hidden_layers=num_layers, architectures=["LlamaForCausalLM"], dtype="bfloat16")
    made = [folder / f"huge-{number}" for number in range(3)]
    for number, path in enumerate(made):
        path.mkdir()
        config.save_pretrained(path)
        generator = torch.Generator().manual_seed(number)
        places = dict[str, str]()
        for shard, shapes in enumerate(huge_shapes(config)):
            file = f"model-{shard + 1:05}-of-{num_layers + 1:05}.safetensors"
            tensors = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
            for tensor in tensors.values():
                tensor.normal_(std=0.02, generator=generator)
            save_file(tensors, path / file, metadata={"format": "pt"})
            places |= dict.fromkeys(tensors, file)
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return made


def huge_shapes(config: Any) -> Iterator[dict[str, tuple[int, ...]]]:
    """Of what lies outside of blocks, then of each block."""
    width, inner, words = config.hidden_size, config.intermediate_size, config.vocab_size
    outside = {
        "model.embed_tokens.weight": (words, width),
        "lm_head.weight": (words, width),
        "model.norm.weight": (width,),
    }
    yield outside
    for number in range(config.num_hidden_layers):
        attention = {f"self_attn.{part}_proj": (width, width) for part in "qkvo"}
        feed = {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}
        norms = {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
        yield {f"model.layers.{number}.{part}.weight": shape for part, shape in {**attention, **feed, **norms}.items()}


if __name__ == "__main__":
    main()
