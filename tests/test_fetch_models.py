"""tools/models: formats of other programs, on files made by hand; and the decoder of benchmarks/ssru."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from ssru_marian import SSRUMarianConfig, SSRUMarianMTModel, recur
from transformers import AutoModelForSeq2SeqLM

from tools.models import _bergamot, _ctranslate2, _onnx, distilbert_cased, whisper_tiny_en


def test_tensors_of_ctranslate2_are_read_with_their_aliases(tmp_path: Path):
    def text(word: str) -> bytes:
        return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"

    matrix, number = np.arange(6, dtype=np.float16).reshape(2, 3), np.array(7, np.int8)
    tensors = b"".join(
        text(name) + struct.pack(f"<B{each.ndim}IBI", each.ndim, *each.shape, kind, each.nbytes) + each.tobytes()
        for name, each, kind in (("weight", matrix, 4), ("num_heads", number, 1))
    )
    alias = struct.pack("<I", 1) + text("tied") + text("weight")
    path = tmp_path / "model.bin"
    path.write_bytes(struct.pack("<I", 6) + text("Spec") + struct.pack("<II", 3, 2) + tensors + alias)
    found = _ctranslate2.read(path)
    assert found["weight"].dtype == torch.float16
    assert found["tied"].tolist() == matrix.tolist()
    assert int(found["num_heads"]) == 7
    path.write_bytes(struct.pack("<I", 5) + path.read_bytes()[4:])
    with pytest.raises(AssertionError, match="is of version 5"):
        _ctranslate2.read(path)


def test_fused_products_of_ctranslate2_are_parted():
    parts = [torch.full((2, 2), float(number)) for number in (1, 2, 3)]
    tensors = {
        "it/linear_0/weight": torch.cat(parts),
        "it/linear_0/bias": torch.tensor([1.0, 1, 0, 0, 3, 3]),
        "it/linear_1/weight": torch.eye(2),
        "it/linear_1/bias": torch.ones(2),
        "it/layer_norm/gamma": torch.ones(2),
        "it/layer_norm/beta": torch.zeros(2),
    }
    found = dict(whisper_tiny_en.attention(tensors, "attn", "it", ("qkv", "out")))
    assert [found[f"attn.{letter}_proj.weight"].unique().item() for letter in "qkv"] == [1, 2, 3]
    assert "attn.k_proj.bias" not in found
    assert found["attn.v_proj.bias"].tolist() == [3, 3]
    assert found["attn.out_proj.weight"].tolist() == [[1, 0], [0, 1]]


def test_matrices_of_marian_are_scaled_and_turned(tmp_path: Path):
    stored = np.array([[1, 2, 3], [4, 5, -6]], np.int8)
    whole = stored.tobytes() + struct.pack("<f", 2.0)
    tensors = {
        "Wemb": (_bergamot.INTGEMM8, (2, 3), whole),
        "W": (_bergamot.INTGEMM8, (3, 2), whole),
        "W_QuantMultA": (_bergamot.FLOAT32, (1, 1), struct.pack("<f", 9.0)),
        "bias": (_bergamot.FLOAT32, (1, 2), struct.pack("<2f", 0.5, 0.25)),
        "special:model.yml": (0x101, (4,), b"a: b"),
    }
    names = b"".join(name.encode() + b"\0" for name in tensors)
    headers = b"".join(
        struct.pack("<4Q", len(name) + 1, kind, len(shape), len(content))
        for name, (kind, shape, content) in tensors.items()
    )
    shapes = b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, shape, _ in tensors.values())
    contents = b"".join(content for *_, content in tensors.values())
    path = tmp_path / "model.bin"
    start = struct.pack("<QQ", 1, len(tensors)) + headers + names + shapes
    path.write_bytes(start + struct.pack("<Q", 5) + b"\0" * 5 + contents)
    found = _bergamot.read(path)
    assert set(found) == {"Wemb", "W", "bias"}
    assert found["Wemb"].tolist() == found["W"].tolist() == (stored / 2).tolist()
    assert found["bias"].tolist() == [[0.5, 0.25]]


def message(*given: tuple[int, int | bytes]) -> bytes:
    """A protobuf message."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    return b"".join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in given
    )


def tensor(name: str, kind: int, shape: tuple[int, ...], place: int, content: bytes) -> tuple[int, bytes]:
    """An initialiser of a graph, its content in one of the fields that hold it."""
    sizes = [(1, size) for size in shape]
    return 5, message(*sizes, (2, kind), (8, name.encode()), (place, content))


def test_weights_of_a_quantised_onnx_file_are_dequantised(tmp_path: Path):
    turned = np.arange(200, dtype=np.uint8).reshape(2, 100)
    dequantise = ((1, b"w_quantized"), (1, b"w_scale"), (1, b"w_zero"), (2, b"w"), (3, b"d"), (4, b"DequantizeLinear"))
    product = ((1, b"x"), (1, b"w"), (2, b"y"), (3, b"/distilbert/q_lin/MatMul"), (4, b"MatMul"))
    graph = message(
        (1, message(*dequantise)),
        (1, message(*product)),
        tensor("w_quantized", 2, turned.shape, 9, turned.tobytes()),
        tensor("w_scale", 1, (), 4, struct.pack("<f", 0.5)),
        tensor("w_zero", 2, (), 5, bytes([100])),
        tensor("classifier.bias", 1, (2,), 9, struct.pack("<2f", 1, 2)),
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(message((1, 8), (2, b"someone"), (7, graph)))
    found = dict(distilbert_cased.weights(*_onnx.read(path)))
    assert set(found) == {"distilbert.q_lin.weight", "classifier.bias"}
    assert np.array_equal(found["distilbert.q_lin.weight"], (turned.T.astype(np.float32) - 100) / 2)
    assert found["classifier.bias"].tolist() == [1, 2]


def tiny_ssru() -> SSRUMarianMTModel:
    """Width 16, two layers a side, 24 words; weights large enough that it does not repeat itself."""
    torch.manual_seed(0)
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in SIZES.items()}
    tokens = {"pad_token_id": 23, "decoder_start_token_id": 23, "eos_token_id": 0, "forced_eos_token_id": None}
    config = SSRUMarianConfig(vocab_size=24, d_model=16, init_std=0.5, dropout=0.0, **sizes, **tokens)
    return SSRUMarianMTModel(config).eval()


SIZES = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}


def test_states_follow_their_formula_and_go_on_from_a_state():
    new, kept = torch.randn(3, 9, 4, dtype=torch.float64), torch.rand(3, 9, 4, dtype=torch.float64)
    state, expected = torch.zeros(3, 4, dtype=torch.float64), []
    for step in range(9):
        state = kept[:, step] * state + (1 - kept[:, step]) * new[:, step]
        expected.append(state)
    whole = recur(new, kept)
    torch.testing.assert_close(whole, torch.stack(expected, 1), rtol=0, atol=1e-14)
    rest = recur(new[:, 5:], kept[:, 5:], whole[:, 4])
    torch.testing.assert_close(rest, whole[:, 5:], rtol=0, atol=1e-14)


def test_the_decoder_cannot_look_ahead():
    model, source = tiny_ssru(), torch.tensor([[3, 4, 5, 0]])
    target = torch.tensor([[23, 6, 7, 8]])
    other = torch.tensor([[23, 6, 9, 9]])
    with torch.no_grad():
        logits = [model(input_ids=source, decoder_input_ids=ids).logits for ids in (target, other)]
    assert torch.equal(logits[0][:, :2], logits[1][:, :2])
    assert not torch.equal(logits[0][:, 2:], logits[1][:, 2:])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generation_is_the_same_with_and_without_a_cache(num_beams: int):
    model, source = tiny_ssru(), torch.tensor([[3, 4, 5, 0], [9, 8, 0, 23]])
    asked = {"attention_mask": source != 23, "max_new_tokens": 12, "num_beams": num_beams, "do_sample": False}
    found = [model.generate(source, use_cache=cached, **asked).tolist() for cached in (True, False)]
    assert found[0] == found[1]
    assert len({tuple(row) for row in found[0]}) == 2


def test_a_saved_ssru_model_is_loaded_by_the_auto_class(tmp_path: Path):
    model, source = tiny_ssru(), torch.tensor([[3, 4, 5, 0]])
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(again) is SSRUMarianMTModel
    with torch.no_grad():
        logits = [each(input_ids=source, labels=source).logits for each in (model, again.eval())]
    assert torch.equal(*logits)
