"""The one language that says which of a model's parameters are meant; a list of selectors adds up.

    all  all-linear                every parameter; every linear layer inside the blocks
    norm  head  attention.query    a role of `luthier.models.anatomy`, or its first word alone: attention
    encoder  decoder               the blocks of all stacks of this kind
    last-2  first-4  blocks.4-6    some blocks, counted from 0, both ends included: the decoder's if there is
    encoder.last-2                 one, else the encoder's, unless the kind stands before
    bias  q_proj  attention.self   the end of a module's or parameter's name, with all that is below it
    layer.*.output  fc*            the same; * stands for any letters between two dots
    re:layer.[02].attention        a regular expression, searched for in parameters' full names

A word has the first of these meanings that the model has: `head` is the role, even where a module has that
name too. Roles and all-linear mean layers' own parameters, never what was learnt and hung below a layer. YAML wants
quotes around a word that begins with *.
"""

import re
from collections.abc import Container, Iterable, Sequence

from torch import nn
from transformers import PreTrainedModel

from luthier.errors import MethodError, ModelError, did_you_mean
from luthier.models.anatomy import ROLES, Anatomy, Block, is_linear, join, own_modules, read
from luthier.models.words import word_tables

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
    linears, chosen = _linears(model), set[str]()
    for selector in selectors:
        names = _names(model, selector, where)
        found = _owners(linears, names)
        if not found:
            raise MethodError(f"{where}: {selector} selects no linear layer; {_offer(model)}")
        chosen |= found
    return tuple(linear for linear in linears if linear in chosen)


def select_maps(model: PreTrainedModel, selectors: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The same with tables of words: a selector that means no linear layer may mean one (`embedding`, `embed_tokens`),
    and a regular expression means each that it matches."""
    linears, tables, chosen = _linears(model), tuple(word_tables(model)), set[str]()
    for selector in selectors:
        names = _names(model, selector, where)
        found = _owners(linears, names)
        if not found or selector.startswith("re:"):
            found |= _owners(tables, names)
        if not found:
            raise MethodError(f"{where}: {selector} selects no linear layer and no table of words; {_offer(model)}")
        chosen |= found
    return tuple(name for name, _ in own_modules(model) if name in chosen)


def select_modules(model: PreTrainedModel, selectors: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Full names of the modules that own the selected parameters, each of which must be selected whole.

    Errors as `select`, and MethodError where a module is selected in part.
    """
    chosen: dict[str, None] = {}
    for selector in selectors:
        names = _names(model, selector, where)
        for owner in dict.fromkeys(name.rpartition(".")[0] for name in names):
            own = {join(owner, name) for name, _ in model.get_submodule(owner).named_parameters(recurse=False)}
            if own - names:
                raise MethodError(f"{where}: {selector} selects {owner} in part; a module learns as a whole here")
            chosen[owner] = None
    return tuple(name for name, _ in own_modules(model) if name in chosen)


def _owners(layers: Iterable[str], names: Container[str]) -> set[str]:
    return {layer for layer in layers if f"{layer}.weight" in names}


def select_blocks(model: PreTrainedModel, selectors: Sequence[str], *, where: str) -> tuple[Block, ...]:
    """The blocks that are meant by `all`, encoder, decoder, last-2 and the like, in the model's order; errors as
    `select`, and MethodError where a selector means parts of blocks."""
    every = _read(model, selectors[0], where).blocks
    chosen: set[str] = set()
    for selector in selectors:
        if selector not in ("all", "encoder", "decoder") and not _BLOCKS.fullmatch(selector):
            raise MethodError(f"{where}: {selector} means no whole blocks; say all, encoder, last-2, blocks.0-1")
        blocks = every if selector == "all" else _blocks(model, selector, where)
        chosen |= {block.name for block in blocks}
    return tuple(block for block in every if block.name in chosen)


def _names(model: PreTrainedModel, selector: str, where: str) -> set[str]:
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if selector == "all":
        return names
    if selector.startswith("re:"):
        found = _search(names, selector, where)
    elif "*" in selector:
        pattern = re.escape(selector).replace(r"\*", "[^.]*")
        found = {name for name in names if re.search(rf"(?:^|\.){pattern}(?:\.|$)", name)}
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
    if selector.startswith("re:") or "*" in selector:
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
