"""A .gguf file is read as the plain model that it was made of, trusting it no more than any other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from luthier.errors import MissingExtra, ModelError
from luthier.models import gguf as ours
from luthier.models.load import Ask, load_model, num_positions
from luthier.models.processor import load_tokenizer
from luthier.models.source import ModelSource
from tests.tiny import classification, tiny

Kind = gguf.GGMLQuantizationType
WORDS = ["<|end|>", "<|start|>", *"abcdefgh", "Ġ", "ab", "Ġab", "cd"]
MERGES = ["a b", "Ġ ab", "c d"]
TEMPLATE = "{% for m in messages %}<|start|>{{ m['content'] }}<|end|>{% endfor %}"
ASK = Ask("causal-lm", "AutoModelForCausalLM", ("decoder",), {})
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""What llama.cpp calls the parts of a block."""


def base() -> PreTrainedModel:
    return tiny("llama", head="lm", vocab_size=len(WORDS), pad_token_id=None, bos_token_id=1, eos_token_id=0)


def their_name(name: str) -> str:
    """What llama.cpp calls a weight."""
    parts = name.removesuffix(".weight").split(".", 3)
    if parts[1:2] == ["layers"]:
        return f"blk.{parts[2]}.{NAMES[parts[3]]}.weight"
    last = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    return f"{last[parts[-1]]}.weight"


def rotated(weight: Tensor, num_heads: int) -> Tensor:
    """Rows of a query or key in llama.cpp's order: the halves of each head, one by one."""
    return weight.view(num_heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def write(path: Path, kind: Kind = Kind.F32, lost: str = "") -> Path:
    """The base as llama.cpp's converter writes it; norms are never quantised."""
    model, writer = base(), gguf.GGUFWriter(path, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, *[1] * (len(WORDS) - 2)])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, weight in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        array = (rotated(weight, heads) if heads else weight).numpy()
        if name != lost:
            held = kind if array.ndim > 1 else Kind.F32
            writer.add_tensor(their_name(name), gguf.quants.quantize(array, held), raw_dtype=held)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def load(path: Path) -> PreTrainedModel:
    source = ModelSource(name=str(path))
    return load_model(source, ASK, device="cpu", seed=0, processor=load_tokenizer(source)).eval()


def logits(model: PreTrainedModel) -> Tensor:
    ids = torch.from_numpy(np.random.default_rng(0).integers(len(WORDS), size=(2, 9)))
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_a_file_gives_the_model_that_it_was_made_of(saved: Path) -> None:
    model = load(saved)
    assert torch.allclose(logits(model), logits(base()), rtol=0, atol=1e-6)
    assert model.config._attn_implementation == "eager"


def test_quantised_weights_are_plain_numbers_near_the_first_ones(tmp_path: Path) -> None:
    model = load(write(tmp_path / "tiny.Q8_0.gguf", Kind.Q8_0))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    difference = (logits(model) - logits(base())).abs().max()
    assert 0 < difference < 0.02


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0])
def test_what_was_loaded_is_saved_as_a_plain_folder(tmp_path: Path, kind: Kind) -> None:
    path = write(tmp_path / "tiny.gguf", kind)
    model, tokenizer = load(path), load_tokenizer(ModelSource(name=str(path)))
    model.save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    assert "quantization_config" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert torch.equal(logits(load(tmp_path / "plain")), logits(model))
    again = load_tokenizer(ModelSource(name=str(tmp_path / "plain")))
    assert again("ab cab<|end|>").input_ids == tokenizer("ab cab<|end|>").input_ids
    assert again.chat_template == TEMPLATE
    assert str(tmp_path) not in (tmp_path / "plain" / "tokenizer_config.json").read_text()


def test_the_tokenizer_and_its_chat_template_are_in_the_file(saved: Path) -> None:
    tokenizer = load_tokenizer(ModelSource(name=str(saved)))
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab abcd<|end|>").input_ids) == ["ab", "Ġab", "cd", "<|end|>"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|start|>", "<|end|>")
    assert tokenizer.apply_chat_template([{"content": "ab"}], tokenize=False) == "<|start|>ab<|end|>"
    assert num_positions(load(saved), tokenizer) == 128


def test_another_task_finds_its_body_in_the_file(saved: Path) -> None:
    source, ask = ModelSource(name=str(saved)), Ask.of(classification())
    model = load_model(source, ask, device="cpu", seed=0, processor=load_tokenizer(source))
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert torch.allclose(model.model.layers[1].self_attn.k_proj.weight, base().model.layers[1].self_attn.k_proj.weight)


def test_what_lies_beside_a_file_is_not_read(saved: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(saved, tmp_path))
    for name in ("adapter_config.json", "tokenizer_config.json", "config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_text('{"auto_map": {"AutoTokenizer": "evil.Evil"}, "base_model_name_or_path": "evil"}')
    (tmp_path / "tokenizer.json").write_text("{")
    assert torch.equal(logits(load(path)), logits(load(saved)))


def test_a_file_is_known_by_its_own_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    assert load(Path(saved.name)).config._name_or_path == saved.name


@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.1, 0.5, 0.99])
def test_a_file_that_breaks_off_is_refused(saved: Path, tmp_path: Path, part: float) -> None:
    path, content = tmp_path / "cut.gguf", saved.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ModelError, match=r"^model\.name: .*cut\.gguf cannot be loaded: "):
        load(path)


def test_a_file_that_lacks_a_weight_is_refused_by_its_name(tmp_path: Path) -> None:
    name = "model.layers.2.mlp.up_proj.weight"
    with pytest.raises(ModelError, match=f"its weights lack {name}"):
        load(write(tmp_path / "tiny.gguf", lost=name))


@pytest.mark.parametrize("missing", ["gguf", "accelerate"])
def test_what_reads_such_files_is_named_where_it_is_not_installed(
    saved: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find: Callable[[str], object] = ours.extras.find_spec
    monkeypatch.setattr(ours.extras, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingExtra, match=r"a \.gguf file needs an optional part: pip install 'luthier\[gguf\]'"):
        load_tokenizer(ModelSource(name=str(saved)))


def test_packed_weights_are_unpacked_so_that_no_kernel_is_fetched(saved: Path) -> None:
    assert ours.dequantised(str(saved))["quantization_config"].dequantize
    assert ours.dequantised(str(saved.parent)) == {}
