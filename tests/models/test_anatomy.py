"""A model's anatomy: by hand for what is written here, by dataflow for every family that runs on sdpa.

Roles are tested in test_anatomy_roles.py.
"""

from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from luthier.errors import ModelError
from luthier.models.anatomy import attention_units, is_linear, linear_sizes, read
from tests.tiny import FAMILIES, tiny

READABLE = sorted(FAMILIES.keys() - {"xlnet"})
ON_SDPA = sorted(FAMILIES.keys() - {"xlnet", "bloom", "deberta-v2"})
STACKS = {
    "bert": {"encoder.layer": "encoder"},
    "roberta": {"encoder.layer": "encoder"},
    "distilbert": {"transformer.layer": "encoder"},
    "albert": {"encoder.albert_layer_groups": "encoder"},
    "electra": {"encoder.layer": "encoder"},
    "deberta-v2": {"encoder.layer": "encoder"},
    "modernbert": {"layers": "encoder"},
    "gpt2": {"h": "decoder"},
    "gpt_neox": {"layers": "decoder"},
    "llama": {"layers": "decoder"},
    "mistral": {"layers": "decoder"},
    "qwen2": {"layers": "decoder"},
    "gemma3_text": {"layers": "decoder"},
    "phi3": {"layers": "decoder"},
    "opt": {"decoder.layers": "decoder"},
    "bloom": {"h": "decoder"},
    "mixtral": {"layers": "decoder"},
    "t5": {"encoder.block": "encoder", "decoder.block": "decoder"},
    "bart": {"encoder.layers": "encoder", "decoder.layers": "decoder"},
    "marian": {"encoder.layers": "encoder", "decoder.layers": "decoder"},
    "whisper": {"encoder.layers": "encoder", "decoder.layers": "decoder"},
    "wav2vec2": {"encoder.layers": "encoder"},
}


def inputs(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    words = torch.tensor([[5, 6, 7, 8]])
    kinds = {
        "input_ids": words,
        "input_features": torch.ones(1, 8, 32),
        "input_values": torch.arange(400.0)[None],
    }
    given = {model.main_input_name: kinds[model.main_input_name]}
    return given | ({"decoder_input_ids": words} if model.config.is_encoder_decoder else {})


class Dataflow:
    """Runs a model whose linear layers and attentions cut the graph, so that only direct flow is seen.

    `calls` holds, for each module that called the attention function, the layers whose outputs its query,
    key and value were made of, and the layers whose inputs its result went into.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.calls: dict[nn.Module, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.made: list[tuple[str, torch.Tensor]] = []
        self.results: list[tuple[nn.Module, torch.Tensor]] = []
        for name, module in model.named_modules():
            if is_linear(module):
                module.register_forward_hook(lambda _, args, out, name=name: self.linear(name, args[0], out))
        AttentionInterface.register("dataflow", self.attention)
        AttentionMaskInterface.register("dataflow", sdpa_mask)
        model.set_attn_implementation("dataflow")
        model(**inputs(model), use_cache=False) if hasattr(model.config, "use_cache") else model(**inputs(model))

    def linear(self, name: str, given: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        for module in self.sources(given, self.results):
            self.calls[module]["output"].add(name)
        self.made.append((name, made.detach().requires_grad_()))
        return self.made[-1][1]

    def attention(self, module: nn.Module, query, key, value, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        for part, tensor in {"query": query, "key": key, "value": value}.items():
            self.calls[module][part] |= set(self.sources(tensor, self.made))
        result, _ = sdpa_attention_forward(module, query, key, value, *args, **kwargs)
        self.results.append((module, result.detach().requires_grad_()))
        return self.results[-1][1], None

    @staticmethod
    def sources(tensor: torch.Tensor, candidates: list[tuple[Any, torch.Tensor]]) -> list[Any]:
        if not candidates or not tensor.requires_grad:
            return []
        tensors = [candidate for _, candidate in candidates]
        gradients = torch.autograd.grad(tensor.sum(), tensors, allow_unused=True, retain_graph=True)
        return [owner for (owner, _), gradient in zip(candidates, gradients, strict=True) if gradient is not None]


@pytest.mark.parametrize("family", ON_SDPA)
def test_attention_roles_and_units_agree_with_the_dataflow(family: str) -> None:
    model = tiny(family, head="base")
    expected = {}
    for block in read(model).blocks:
        role_of = {name: role for role, names in block.roles.items() for name in names}
        for owner in attention_units(block.module):
            side = "cross-attention" if any(word in owner for word in ("encoder_attn", "EncDec")) else "attention"
            layers = {role: {n for n in role_of if role_of[n] == f"{side}.{role}"} for role in ("qkv", "output")}
            parts = {p: block.roles.get(f"{side}.{p}") or layers["qkv"] for p in ("query", "key", "value")}
            unit = {part: set(names) for part, names in parts.items()} | {"output": layers["output"]}
            expected[block.module.get_submodule(owner)] = unit
    assert Dataflow(model).calls == expected


@pytest.mark.parametrize("family", READABLE)
def test_stacks_are_named_and_told_apart(family: str) -> None:
    assert {stack.name: stack.kind for stack in read(tiny(family, head="base")).stacks} == STACKS[family]


@pytest.mark.parametrize("family", ["bloom", "gpt2", "gpt_neox", "llama", "opt"])
def test_a_decoder_is_a_decoder_under_a_classification_head(family: str) -> None:
    assert [stack.kind for stack in read(tiny(family)).stacks] == ["decoder"]


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"xlnet", "albert"}))
def test_each_stack_has_its_four_blocks_in_order(family: str) -> None:
    for stack in read(tiny(family, head="base")).stacks:
        assert [block.name for block in stack.blocks] == [f"{stack.name}.{index}" for index in range(4)]
        assert stack.depth == 4


@pytest.mark.parametrize(("num_groups", "num_blocks"), [(1, 1), (2, 2)])
def test_shared_weights_are_fewer_blocks_than_layers(num_groups: int, num_blocks: int) -> None:
    (stack,) = read(tiny("albert", num_hidden_groups=num_groups)).stacks
    assert (len(stack.blocks), stack.depth) == (num_blocks, 4)


def test_tied_parameters_are_grouped() -> None:
    assert read(tiny("gpt2", head="lm")).tied == (("transformer.wte.weight", "lm_head.weight"),)
    assert read(tiny("llama", head="lm")).tied == ()


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "mixtral", "wav2vec2"])
def test_what_hangs_below_a_layer_changes_nothing(family: str) -> None:
    model = tiny(family)
    before = read(model)
    units = [attention_units(block.module) for block in before.blocks]
    for module in list(model.modules()):
        if is_linear(module) or isinstance(module, nn.Embedding):
            module.lora = nn.ParameterDict({"A": torch.zeros(4, 32), "B": torch.zeros(2, 32, 4)})
            module.lora.inner = nn.Linear(32, 32)
    after = read(model)
    assert after.roles == before.roles
    assert [attention_units(block.module) for block in after.blocks] == units


def test_a_model_without_query_key_and_value_layers_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"XLNet\w+ could not be read.*full still works.*partial and lora.*re:"):
        read(tiny("xlnet"))


def test_a_list_of_bare_attentions_is_no_stack() -> None:
    unit = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("q_lin", "k_lin", "v_lin")})
    assert attention_units(unit) == {}
    assert list(attention_units(nn.ModuleDict({"attention": unit}))) == ["attention"]


def test_linear_sizes_are_input_then_output() -> None:
    assert linear_sizes(tiny("gpt2").get_submodule("transformer.h.0.attn.c_attn")) == (32, 96)
    assert linear_sizes(tiny("llama").get_submodule("model.layers.0.mlp.up_proj")) == (32, 64)


def test_describe_is_a_short_table() -> None:
    lines = read(tiny("albert")).describe().splitlines()
    assert lines[0] == "albert.encoder.albert_layer_groups: encoder, blocks: 1, run as 4 layers"
    assert lines[1].split() == [
        "attention.query",
        "albert.encoder.albert_layer_groups.*.albert_layers.*.attention.query",
    ]
    assert len(lines) == 1 + len(read(tiny("albert")).roles)
