"""Reads any Hugging Face model by structure: its stacks, their blocks, and the role of every module.

No model family is known here. A stack is an outermost list of modules that all hold attention; the names of
the layers within one attention tell query, key and value apart; shapes tell the feed-forward layers apart.
Roles belong to modules that own parameters, each to exactly one, and stand for their own parameters only:
what is learnt later hangs below a layer, has no role, and changes nothing here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.pytorch_utils import Conv1D

from luthier.errors import ModelError

Kind = Literal["encoder", "decoder"]

ROLES = (
    *(f"attention.{part}" for part in ("query", "key", "value", "qkv", "output", "relative-bias")),
    *(f"cross-attention.{part}" for part in ("query", "key", "value", "qkv", "output")),
    *(f"feed-forward.{part}" for part in ("in", "gate", "gate-in", "out", "experts")),
    *("norm", "embedding", "features", "pooler", "head", "other"),
)
"""Every role that a module can have. `qkv` and `gate-in` are layers that are fused into one."""

_LEAVES = {  # the last name of a linear layer inside an attention module
    "query": r"q|query|q_proj|query_proj|q_lin|q_attn|wq|to_q|linear_q",
    "key": r"k|key|k_proj|key_proj|k_lin|wk|to_k|linear_k",
    "value": r"v|value|v_proj|value_proj|v_lin|wv|to_v|linear_v",
    # Not in_proj: Mamba and LFM2 give this name to what is no attention.
    "qkv": r"c_attn|query_key_value|qkv_proj|qkv|wqkv|att_proj",
}
_CROSS = re.compile(r"cross|encoder_attn|encdec", re.IGNORECASE)
_GATE = re.compile(r"gate|gate_proj|gate_lin|wi_0|w1", re.IGNORECASE)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class Block:
    """One layer of a stack, and its modules' full names by role."""

    name: str
    module: nn.Module
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Stack:
    """A run of like blocks; `depth` is above the number of blocks where they share weights (ALBERT)."""

    name: str
    kind: Kind
    blocks: tuple[Block, ...]
    depth: int


@dataclass(frozen=True)
class Anatomy:
    """What a model is made of: stacks of blocks, what lies outside of them, and tied parameters."""

    stacks: tuple[Stack, ...]
    outside: Mapping[str, tuple[str, ...]]
    tied: tuple[tuple[str, ...], ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All stacks' blocks, in order."""
        return tuple(block for stack in self.stacks for block in stack.blocks)

    @property
    def linears(self) -> tuple[str, ...]:
        """The full names of all linear layers inside the blocks."""
        parts = (part for block in self.blocks for part in own_modules(block.module, block.name))
        return tuple(name for name, module in parts if is_linear(module))

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """The full names of all modules by role, in the order of `ROLES`."""
        parts = [block.roles for block in self.blocks] + [self.outside]
        names = {role: tuple(name for part in parts for name in part.get(role, ())) for role in ROLES}
        return {role: modules for role, modules in names.items() if modules}

    def describe(self) -> str:
        """A short table: a line for each stack, then a line for each role with `*` for block numbers."""
        lines = []
        for stack in self.stacks:
            shared = f", run as {stack.depth} layers" if stack.depth > len(stack.blocks) else ""
            lines.append(f"{stack.name}: {stack.kind}, blocks: {len(stack.blocks)}{shared}")
        for role, names in self.roles.items():
            patterns = dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names)
            lines.append(f"  {role:<23} {', '.join(patterns)}")
        return "\n".join(lines)


def read(model: PreTrainedModel) -> Anatomy:
    """Read a model's anatomy; raises ModelError where no stack of attention blocks is found."""
    lists = dict(_block_lists(model))
    if not lists:
        raise ModelError(
            f"{type(model).__name__} could not be read: it has no list of blocks whose attention is made of "
            "linear query, key and value layers. The method full still works, and so do partial and lora "
            "with the names of layers or with re: selectors"
        )
    stacks = tuple(_read_stack(model, name, blocks) for name, blocks in lists.items())
    return Anatomy(stacks, _read_outside(model, tuple(f"{name}." for name in lists)), _tied(model))


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer: nn.Linear (quantised ones are subclasses) or GPT-2's Conv1D."""
    return isinstance(module, (nn.Linear, Conv1D))


def linear_sizes(module: nn.Module) -> tuple[int, int]:
    """A linear layer's input and output width, whatever the layout of its weight."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features


def own_modules(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module with its full name, but nothing below a linear layer or an embedding: that is learnt."""
    yield name, module
    if not is_linear(module) and not isinstance(module, nn.Embedding):
        for child_name, child in module.named_children():
            yield from own_modules(child, join(name, child_name))


def join(*names: str) -> str:
    """Names put together with dots; the root's is empty."""
    return ".".join(name for name in names if name)


def attention_units(block: nn.Module) -> dict[str, dict[str, str]]:
    """The modules that own query, key and value (or all fused): owner's path -> part -> layer's path.

    An owner is the very module that transformers' attention interface hands to an attention function.
    """
    units: dict[str, dict[str, str]] = {}
    for path, module in own_modules(block):
        owner, _, leaf = path.rpartition(".")
        # A block that is itself an attention (XLM) is no block: its feed-forward lies elsewhere.
        if owner and is_linear(module):
            parts = [part for part, names in _LEAVES.items() if re.fullmatch(names, leaf, re.IGNORECASE)]
            units.setdefault(owner, {}).update(dict.fromkeys(parts, path))
    whole = {"query", "key", "value"}
    return {owner: unit for owner, unit in units.items() if "qkv" in unit or whole <= unit.keys()}


def _block_lists(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    if isinstance(module, nn.ModuleList) and len(module) and all(attention_units(block) for block in module):
        yield name, module
    else:
        for child_name, child in module.named_children():
            yield from _block_lists(child, join(name, child_name))


def _read_stack(model: PreTrainedModel, name: str, modules: nn.ModuleList) -> Stack:
    blocks = tuple(_read_block(f"{name}.{index}", module) for index, module in enumerate(modules))
    # A model that runs one block several times says how many groups of weights it has.
    shares = getattr(model.config, "num_hidden_groups", None) == len(blocks)
    depth = int(model.config.num_hidden_layers) if shares else len(blocks)
    return Stack(name, _kind(model.config.model_type, name, modules), blocks, depth)


def _kind(model_type: str, name: str, blocks: nn.ModuleList) -> Kind:
    causal = {getattr(module, "is_causal", None) for module in blocks.modules()}
    crosses = any(_CROSS.search(path) for path, _ in own_modules(blocks))
    if crosses or True in causal or "decoder" in name.split("."):
        return "decoder"
    # BLOOM, GPT-J and Falcon do not say; transformers generates with their type and fills no masks with it.
    only_generates = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - MODEL_FOR_MASKED_LM_MAPPING_NAMES.keys()
    return "decoder" if causal == {None} and model_type in only_generates else "encoder"


def _read_block(name: str, block: nn.Module) -> Block:
    modules = {path: module for path, module in own_modules(block) if _owns_parameters(module)}
    sizes = {path: linear_sizes(module) for path, module in modules.items() if is_linear(module)}
    units = attention_units(block)
    first = next(iter(units.values()))
    width, _ = sizes[first.get("query") or first["qkv"]]
    attention = _attention_roles(units, sizes, width)
    rest = {path: size for path, size in sizes.items() if path not in attention}
    roles = {path: _other_role(module, width) for path, module in modules.items()}
    roles |= attention | _feed_forward_roles(rest, width)
    return Block(name, block, _by_role((join(name, path), role) for path, role in roles.items()))


def _attention_roles(
    units: Mapping[str, Mapping[str, str]], sizes: Mapping[str, tuple[int, int]], width: int
) -> dict[str, str]:
    inputs = {path for unit in units.values() for path in unit.values()}
    roles: dict[str, str] = {}
    for owner, unit in units.items():
        side = "cross-attention" if _CROSS.search(owner) else "attention"
        roles |= {path: f"{side}.{part}" for part, path in unit.items()}
        outputs = (
            path
            for scope in (f"{owner}.", owner[: owner.rfind(".") + 1])  # BERT's output is its owner's sibling
            for path, (_, size) in sizes.items()
            if path.startswith(scope) and size == width and path not in inputs
            and "pos" not in path.rpartition(".")[2]  # DeBERTa maps positions too, to the same width
        )  # fmt: skip
        roles |= {path: f"{side}.output" for path in islice(outputs, 1)}
    return roles


def _feed_forward_roles(sizes: Mapping[str, tuple[int, int]], width: int) -> dict[str, str]:
    """Roles by shape; the inner width is the widest that leads back: bottlenecks beside it do not count."""
    leads_back = [path for path, (_, size) in sizes.items() if size == width]
    inner = max((sizes[path][0] for path in leads_back), default=0)
    roles = {}
    for path, size in sizes.items():
        if size == (inner, width) and (inner != width or path == leads_back[-1]):
            roles[path] = "feed-forward.out"
        elif size == (width, inner):
            gate = _GATE.fullmatch(path.rpartition(".")[2])
            roles[path] = "feed-forward.gate" if gate else "feed-forward.in"
        elif size == (width, 2 * inner):
            roles[path] = "feed-forward.gate-in"
    return roles


def _other_role(module: nn.Module, width: int) -> str:
    """The role of a block's module that is a layer neither of an attention nor of a feed-forward."""
    if _is_norm(module):
        return "norm"
    if isinstance(module, nn.Embedding):
        return "attention.relative-bias"
    # transformers 5 keeps a mixture's experts as [experts, in, out] parameters of one module.
    stacked = any(p.dim() == 3 and width in p.shape[1:] for p in module.parameters(recurse=False))
    return "feed-forward.experts" if stacked and not isinstance(module, _CONVOLUTIONS) else "other"


def _read_outside(model: PreTrainedModel, inside: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    modules = [(name, module) for name, module in own_modules(model) if not name.startswith(inside)]
    features = _feature_parts(model, modules, inside)
    base = "" if model.base_model is model else f"{model.base_model_prefix}."
    output = model.get_output_embeddings()

    def role(name: str, module: nn.Module) -> str:
        if module is output or not f"{name}.".startswith(base):
            return "head"
        if f"{name}.".startswith(features):
            return "features"
        if "pooler" in name.split("."):
            return "pooler"
        if isinstance(module, nn.Embedding):
            return "embedding"
        return "norm" if _is_norm(module) else "other"

    return _by_role((name, role(name, module)) for name, module in modules if _owns_parameters(module))


def _feature_parts(
    model: PreTrainedModel, modules: Iterable[tuple[str, nn.Module]], inside: tuple[str, ...]
) -> tuple[str, ...]:
    """Prefixes of the parts that hold a convolution and no stack."""
    if model.main_input_name == "input_ids":  # the convolution of a text model (DeBERTa) extracts no features
        return ()
    prefixes = (f"{name}." for name, module in modules if name and _holds_convolution(module))
    return tuple(prefix for prefix in prefixes if not any(stack.startswith(prefix) for stack in inside))


def _tied(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


def _by_role(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {}
    for name, role in pairs:
        roles[role] = (*roles.get(role, ()), name)
    return roles


def _owns_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _holds_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, _CONVOLUTIONS) for part in module.modules())


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
