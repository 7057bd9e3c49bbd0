"""Llamas of the usual sizes with random weights, and rows of random tokens: what speed and memory need, and no more.

Weights are written once, in bf16, to memory where the machine has such a place, so that every side loads them as it
would load a real model.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks._work import Work
from luthier.data.spool import Spool
from luthier.methods import Method
from luthier.models.source import ModelSource
from luthier.tasks._sequences import Tokens, columns_of
from luthier.tasks._tokens import IGNORED
from luthier.tasks.causal_lm import CausalLM

_LLAMA_3 = {"vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0, "num_key_value_heads": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "1B": _LLAMA_3
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {"tie_word_embeddings": True},
    "8B": _LLAMA_3
    | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "tiny": {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048},
}
"""Of each size the settings of its config: those of Llama 3.2 1B and Llama 3.1 8B, and one for tests."""


def config(shape: str) -> LlamaConfig:
    """The configuration of a size."""
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return LlamaConfig(**SHAPES[shape], **ends, use_cache=False)


def folder(shape: str) -> str:
    """Where its weights are, written now if they are not there yet."""
    place = _home() / f"luthier-benchmark-llama-{shape}"
    if not (place / "done").is_file():
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(0)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config(shape), dtype=torch.bfloat16)
        model.save_pretrained(place)
        tokenizer().save_pretrained(place)
        (place / "done").touch()
    return str(place)


def _home() -> Path:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of one word: rows are tokens already, but a model does not come without one."""
    words = Tokenizer(WordLevel({"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "[UNK]": 3, "word": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=131072, **special)


def work(shape: str, lengths: list[int], *, num_warm: int, seed: int = 0) -> Work:
    """A row of random tokens for each length, all of them learnt; the first ones warm up, and judge at the end."""
    source, longest = ModelSource(name=folder(shape), dtype="bfloat16"), max(lengths)
    task = CausalLM(rows="text", template="none", learn="everything", max_length=longest, packing=False)
    rows = prepared(SHAPES[shape]["vocab_size"], lengths, seed)
    texts = Dataset.from_dict({"text": [f"row {number}" for number in range(len(lengths))]})
    warm, timed = rows.select(range(num_warm)), rows.select(range(num_warm, len(rows)))
    return Work(source, task, task.load_processor(source), texts, timed, warm, warm)


def prepared(num_words: int, lengths: list[int], seed: int) -> Dataset:
    """Rows as `CausalLM.prepare` makes them."""
    random, spool = np.random.default_rng(seed), Spool()
    ids = [random.integers(4, num_words, size=length) for length in lengths]
    rows = [Tokens(each, np.array([IGNORED, *each[1:]]), context=0) for each in ids]
    spool.extend({"row": list(range(len(rows))), "reference": [""] * len(rows), **columns_of(rows)})
    return spool.finish().with_format("numpy")


def lengths(kind: str, number: int, longest: int, seed: int = 0) -> list[int]:
    """Tokens of each row: all `equal`, or as in `chats`, most of them far shorter than the longest."""
    if kind == "equal":
        return [longest] * number
    drawn = np.random.default_rng(seed).lognormal(np.log(longest / 5), 0.8, size=number)
    return [int(length) for length in drawn.clip(16, longest)]


def needed_flops(shape: str, method: Method, lengths: list[int]) -> float:
    """FLOPs of a training step's products over rows of these lengths, each alone, nothing computed twice.

    Counted without numbers, on the meta device; attention counts all pairs of tokens, as is usual for utilisation.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config(shape), attn_implementation="eager", dtype=torch.bfloat16)
    method.apply(model, generator=torch.Generator())
    model.bfloat16()
    total = 0.0
    for length in set(lengths):
        ids = torch.zeros(1, length, dtype=torch.long, device="meta")
        mask = torch.zeros(1, 1, length, length, device="meta")  # a mask's makers look at numbers: here is one
        with FlopCounterMode(display=False) as counter:
            model(input_ids=ids, attention_mask=mask).logits.sum().backward()
        total += counter.get_total_flops() * lengths.count(length)
    return total
