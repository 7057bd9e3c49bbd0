"""Activations that are computed again give the very gradients of those that were kept, and are not held meanwhile."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary
from transformers import BertConfig, BertModel, PreTrainedModel

from luthier.errors import ModelError
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.models import forward
from luthier.models.anatomy import read
from luthier.models.checkpointing import Checkpointing, checkpointed
from luthier.models.dropout import fast_dropout
from luthier.models.flat_trial import lay_flat
from tests.tiny import FAMILIES, tiny

KINDS: tuple[Checkpointing, ...] = ("blocks", "attention", "selective", 2)
DROPOUT: dict[str, dict[str, Any]] = {  # of families that have none by themselves
    "albert": {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    "modernbert": {"attention_dropout": 0.1, "mlp_dropout": 0.1},
    "gpt_neox": {"attention_dropout": 0.1, "hidden_dropout": 0.1},
    "bloom": {"attention_dropout": 0.1, "hidden_dropout": 0.1},
    "whisper": {"dropout": 0.1},
    "wav2vec2": {"mask_time_prob": 0.0, "layerdrop": 0.0},  # drawn by numpy, and outside of blocks
    **{name: {"attention_dropout": 0.1} for name in ("llama", "mistral", "qwen2", "gemma3_text", "phi3", "mixtral")},
}
READABLE = sorted(FAMILIES.keys() - {"xlnet"})

every_kind = pytest.mark.parametrize("what", KINDS)


def inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Three rows, one of them shorter."""
    ids, mask = torch.arange(3, 30).reshape(3, 9), torch.ones(3, 9, dtype=torch.long)
    mask[0, 6:] = 0
    words = {"decoder_input_ids": ids[:, :7]} if model.config.is_encoder_decoder else {}
    sound = {"input_features": (3, 8, 32), "input_values": (3, 400)}.get(model.main_input_name)
    if sound is None:
        return {"input_ids": ids, "attention_mask": mask, **words}
    drawn = torch.randn(sound, generator=torch.Generator().manual_seed(0))
    return {model.main_input_name: drawn.to(model.dtype), **words}


def gradients(model: PreTrainedModel, what: Checkpointing | None) -> list[Tensor]:
    """Of a loss that looks at every hidden state, with dropout."""
    model.zero_grad()
    torch.manual_seed(0)
    with checkpointed(model.train(), what), fast_dropout("cpu"):
        forward.hidden(model, inputs(model))["last_hidden_state"].square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Relative, of the whole gradient."""
    one, other = (torch.cat([gradient.flatten() for gradient in both]) for both in (found, expected))
    return ((one - other).norm() / other.norm()).item()


class Alive(TorchDispatchMode):
    """Knows what was made within it and is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(answer):
            if isinstance(tensor, Tensor):
                self.made[tensor.untyped_storage()] = True
        return answer

    def num_bytes(self, *, without: nn.Module) -> int:
        weights = WeakIdKeyDictionary({p.untyped_storage(): True for p in without.parameters()})
        return sum(storage.nbytes() for storage in self.made if storage not in weights)


def bytes_kept(model: PreTrainedModel, what: Checkpointing | None) -> int:
    """What a forward pass leaves for backward."""
    with Alive() as alive, checkpointed(model, what), fast_dropout("cpu"):
        loss = forward.hidden(model, inputs(model))["last_hidden_state"].sum()
        kept = alive.num_bytes(without=model)
        loss.backward()
    return kept


@every_kind
@pytest.mark.parametrize("family", READABLE)
def test_gradients_are_the_same_with_dropout(family: str, what: Checkpointing) -> None:
    model = tiny(family, head="lm", **DROPOUT.get(family, {}))
    model = model if family == "mixtral" else model.double()  # its experts' product is for single precision alone
    expected = gradients(model, None)
    assert difference(gradients(model, what), expected) <= 1e-14
    model.eval()
    assert difference(gradients(model, None), expected) == 0  # dropout is drawn anew, from the same seed


@every_kind
@pytest.mark.parametrize("family", ["bert", "llama", "mistral", "gpt2"])
def test_rows_that_lie_flat_are_computed_again_as_rows(family: str, what: Checkpointing) -> None:
    model = tiny(family, head="lm", **DROPOUT.get(family, {})).double()
    padded = gradients(model.eval(), None)
    assert lay_flat(model)
    expected = gradients(model, None)
    assert len(expected) == len(padded)
    assert difference(gradients(model, what), expected) <= 1e-14


@every_kind
def test_the_model_is_left_as_it_was_found(what: Checkpointing) -> None:
    model = tiny("bert")
    own = model.bert.encoder.layer[1].forward
    model.bert.encoder.layer[1].forward = own
    with pytest.raises(ZeroDivisionError), checkpointed(model, what):
        raise ZeroDivisionError
    changed = [module for module in model.modules() if "forward" in vars(module)]
    assert changed == [model.bert.encoder.layer[1]]
    assert changed[0].forward is own


@pytest.mark.parametrize(
    ("what", "least", "most"), [("blocks", 0.0, 0.15), (2, 0.4, 0.6), ("attention", 0.5, 0.9), ("selective", 0.2, 0.6)]
)
def test_less_is_kept(what: Checkpointing, least: float, most: float) -> None:
    model = tiny("bert", num_hidden_layers=8, attn_implementation="eager").train()
    whole = bytes_kept(model, None)
    assert least * whole <= bytes_kept(model, what) <= most * whole


def flops(model: PreTrainedModel, what: Checkpointing | None) -> int:
    with FlopCounterMode(display=False) as counter, checkpointed(model, what), fast_dropout("cpu"):
        model(**inputs(model))["last_hidden_state"].sum().backward()
    return counter.get_total_flops()


def test_selective_computes_no_product_with_a_weight_again() -> None:
    model = BertModel(BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=256))
    plain, blocks, selective = (flops(model, what) for what in (None, "blocks", "selective"))
    assert 1.25 * plain < blocks < 1.34 * plain
    assert plain <= selective < 1.02 * plain


@every_kind
def test_frozen_blocks_below_the_first_that_learns_are_computed_once(what: Checkpointing) -> None:
    model = tiny("bert").train()
    Partial(train=("last-1", "head")).apply(model, generator=torch.Generator())
    calls = [0] * 4
    for number, block in enumerate(read(model).blocks):
        owner = block.module.attention.self.query

        def count(module: nn.Module, args: Any, answer: Tensor, number: int = number) -> None:
            calls[number] += 1

        owner.register_forward_hook(count)
    with checkpointed(model, what), fast_dropout("cpu"):
        model(**inputs(model)).logits.sum().backward()
    again = 1 if what == 2 else 2  # the last of four is no second one
    assert calls == [1, 1, 1, again]


def test_low_rank_updates_learn_below_and_above() -> None:
    model = tiny("llama", head="lm", attention_dropout=0.1).double()
    Lora(rank=2, dropout=0.1).apply(model, generator=torch.Generator().manual_seed(0))
    expected = gradients(model, None)
    assert len(expected) > 8
    assert difference(gradients(model, "blocks"), expected) == 0


def test_nothing_is_computed_again_without_a_gradient() -> None:
    model = tiny("bert").eval()
    with torch.no_grad():
        expected = model(**inputs(model)).logits
        with checkpointed(model, "blocks"):
            assert torch.equal(model(**inputs(model)).logits, expected)


def test_a_model_without_blocks_is_refused() -> None:
    context = checkpointed(tiny("xlnet"), "blocks")
    with pytest.raises(ModelError, match=r"training\.checkpointing: the blocks of XLNet.* were not found"), context:
        pass
