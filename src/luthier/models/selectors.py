"""The one language that says which of a model's parameters are meant; a list of selectors adds up.

    all  all-linear                every parameter; every linear layer inside the blocks
    norm  head  attention.query    a role of `luthier.models.anatomy`, or its first word alone: attention
    encoder  decoder               the blocks of all stacks of this kind
    last-2  first-4  blocks.4-6    some blocks, counted from 0, both ends included: the decoder's if there is
    encoder.last-2                 one, else the encoder's, unless the kind stands before
    bias  q_proj  attention.self   the end of a module's or parameter's name, with all that is below it
    re:layer.[02].attention        a regular expression, searched for in parameters' full names

A word has the first of these meanings that the model has: `head` is the role, even where a module has that
name too. Roles and all-linear mean layers' own parameters, never what was learnt and hung below a layer.
"""

import re
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from luthier.errors import MethodError, ModelError, did_you_mean
from luthier.models.anatomy import ROLES, Anatomy, Block, is_linear, join, own_modules, read

_ROLE_WORDS = {word for role in ROLES for word in (role, role.partition(".")[0])}
_BLOCKS = re.compile(r"(?:(encoder|decoder)\.)?(?:(first|last)-(\d+)|blocks\.(\d+)(?:-(\d+))?)")


def select(model: PreTrainedModel, selectors: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Full names of the selected parameters, in the model's order; a tied tensor by its first name.

    `where` opens the message of every error: MethodError where a selector matches nothing, ModelError where
    one needs the anatomy of a model that cannot be read.
    """
    chosen = {name for selector in selectors for name in _names(model, selector, where)}
    tensors = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if name in chosen}
    return tuple(name for name, p in model.named_parameters() if id(p) in tensors)


def select_linears(model: PreTrainedModel, selectors: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Full names of the linear layers whose own weight is selected, in the model's order; errors as `select`.

    A tied weight is selected only under the name that was meant: `embedding` never means the head.
    """
    linears = _linears(model)
    chosen: set[str] = set()
    for selector in selectors:
        names = _names(model, selector, where)
        found = {linear for linear in linears if f"{linear}.weight" in names}
        if not found:
            raise MethodError(f"{where}: {selector} selects no linear layer; {_offer(model)}")
        chosen |= found
    return tuple(linear for linear in linears if linear in chosen)


def _names(model: PreTrainedModel, selector: str, where: str) -> set[str]:
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if selector == "all":
        return names
    if selector.startswith("re:"):
        found = _search(names, selector, where)
    elif selector in ("encoder", "decoder") or _BLOCKS.fullmatch(selector):
        prefixes = tuple(f"{block.name}." for block in _blocks(model, selector, where))
        found = {name for name in names if name.startswith(prefixes)}
    else:
        found = _with_role(model, selector, where) or {n for n in names if f".{selector}." in f".{n}."}
    if not found:
        raise MethodError(f"{where}: {_nothing(model, selector)}")
    return found


def _search(names: set[str], selector: str, where: str) -> set[str]:
    try:
        pattern = re.compile(selector.removeprefix("re:"))
    except re.error as error:
        raise MethodError(f"{where}: {selector} is not a regular expression: {error}") from None
    return {name for name in names if pattern.search(name)}


def _blocks(model: PreTrainedModel, selector: str, where: str) -> tuple[Block, ...]:
    stacks = _read(model, selector, where).stacks
    match = _BLOCKS.fullmatch(selector)
    default = "decoder" if any(stack.kind == "decoder" for stack in stacks) else "encoder"
    kind = (match[1] or default) if match else selector
    blocks = tuple(block for stack in stacks if stack.kind == kind for block in stack.blocks)
    depth = sum(stack.depth for stack in stacks if stack.kind == kind)
    chosen = _range(match, len(blocks)) if match else range(len(blocks))
    if not blocks:
        problem = f"this model has no {kind}, only the {default}"
    elif match and depth > len(blocks):
        problem = f"the {depth} layers of this model's {kind} share the weights of {len(blocks)} (say {kind})"
    elif not chosen or chosen.start < 0 or chosen.stop > len(blocks):
        problem = f"this model's {kind} has {len(blocks)} blocks, blocks.0-{len(blocks) - 1}"
    else:
        return blocks[chosen.start : chosen.stop]
    raise MethodError(f"{where}: {selector} selects no blocks; {problem}")


def _range(match: re.Match[str], num_blocks: int) -> range:
    _, end, count, first, last = match.groups()
    if end:
        return range(int(count)) if end == "first" else range(num_blocks - int(count), num_blocks)
    return range(int(first), int(last or first) + 1)


def _with_role(model: PreTrainedModel, word: str, where: str) -> set[str]:
    """Own parameters of the modules with a role, of all that it begins, or of all-linear; else none."""
    modules: tuple[str, ...] = ()
    if word == "all-linear":
        modules = _read(model, word, where).linears
    elif word in _ROLE_WORDS:
        roles = _read(model, word, where).roles
        modules = tuple(n for role in roles if f"{role}.".startswith(f"{word}.") for n in roles[role])
    own = {name: model.get_submodule(name).named_parameters(recurse=False) for name in modules}
    return {join(name, parameter) for name, parameters in own.items() for parameter, _ in parameters}


def _read(model: PreTrainedModel, selector: str, where: str) -> Anatomy:
    try:
        return read(model)
    except ModelError as error:
        raise ModelError(f"{where}: {selector} has no meaning here; {error}") from None


def _linears(model: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, module in own_modules(model) if is_linear(module))


def _nothing(model: PreTrainedModel, selector: str) -> str:
    if selector.startswith("re:"):
        return f"no parameter's name matches {selector}; {_offer(model)}"
    if selector in _ROLE_WORDS:
        return f"no layer has the role {selector}; this model has {', '.join(read(model).roles)}"
    parts = {part for name, _ in own_modules(model) for part in name.split(".")}
    hint = did_you_mean(selector, (parts | _ROLE_WORDS).difference(_layers(model)))
    return f"no layer is called {selector}; {_offer(model)}{hint}"


def _offer(model: PreTrainedModel) -> str:
    *layers, preset = _layers(model)
    return f"this model has {', '.join(layers)} (or say {preset})"


def _layers(model: PreTrainedModel) -> list[str]:
    """The last names of the linear layers that one would choose from, and the word for all of them."""
    try:
        names, preset = read(model).linears, "all-linear"
    except ModelError:
        names, preset = _linears(model), "all"
    return [*dict.fromkeys(name.rpartition(".")[2] for name in names), preset]
