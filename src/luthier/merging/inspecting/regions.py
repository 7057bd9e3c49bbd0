"""The block and the role of every tensor of a checkpoint: by the anatomy of its model, which is built without weights,
or by its name where the configuration builds none."""

import json
import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError
from luthier.merging.parents.blocks import Blocks
from luthier.merging.parents.names import aligned

OUTSIDE = "outside"
"""In place of a block's name, of what lies in none."""
_BY_NAME = (
    ("norm", r"norm|(?:^|[._])ln(?:_|\d|\.|$)"),
    ("head", r"^(?:lm_head|classifier|score|qa_outputs|cls|dropout|pre_classifier|classification_head)\b"),
    ("embedding", r"embed|\bwte\b|\bwpe\b|\bshared\b"),
    ("pooler", r"pooler"),
    ("attention.query", r"\b(?:q_proj|query|q|q_lin|wq)\b"),
    ("attention.key", r"\b(?:k_proj|key|k|k_lin|wk)\b"),
    ("attention.value", r"\b(?:v_proj|value|v|v_lin|wv)\b"),
    ("attention.qkv", r"\b(?:c_attn|query_key_value|qkv_proj|qkv)\b"),
    ("feed-forward.gate", r"\b(?:gate_proj|wi_0|w1)\b"),
    (
        "feed-forward.out",
        r"\b(?:down_proj|wo|w2|fc2|fc_out|lin2|dense_4h_to_h)\b|mlp\.c_proj|(?<!attention\.)output\.dense",
    ),
    ("feed-forward.in", r"\b(?:up_proj|wi|wi_1|w3|fc1|fc_in|c_fc|lin1|intermediate|dense_h_to_4h)\b"),
    ("attention.output", r"\b(?:o_proj|out_proj|out_lin|o)\b|attention\.(?:output\.)?dense|attn\.c_proj"),
)
"""Roles by the usual names of layers, the first that matches; only where no anatomy was read."""


@dataclass(frozen=True)
class Region:
    """Where a tensor lies, and what it is for."""

    block: str
    """The list of blocks and the number in it, or OUTSIDE."""
    role: str
    """One of `models.anatomy.ROLES`."""


def regions(names: Collection[str], config: Mapping[str, Any]) -> dict[str, Region]:
    """Of each tensor, in the order of the blocks; what stands outside of them comes first."""
    blocks, roles = Blocks.of(names, config), _read(names, config)
    numbered = {name: blocks.place(name) for name in names}
    order = sorted(names, key=lambda name: _order(numbered[name]))
    return {name: Region(_label(numbered[name]), roles.get(name) or _by_name(name)) for name in order}


def _order(place: tuple[str, int] | None) -> tuple[bool, str, int]:
    """As a model computes: what lies outside of blocks first, then an encoder, then a decoder."""
    return (False, "", -1) if place is None else ("decoder" in place[0], *place)


def _label(place: tuple[str, int] | None) -> str:
    return OUTSIDE if place is None else f"{place[0]}{place[1]}"


def _by_name(name: str) -> str:
    return next((role for role, pattern in _BY_NAME if re.search(pattern, name, re.IGNORECASE)), "other")


def _read(names: Collection[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Roles by the model's anatomy; none where the configuration builds no model that can be read."""
    if "model_type" not in config:
        return {}
    try:
        roles, ours = _of_a_blank_model(config)
    except (LuthierError, ImportError, ValueError, TypeError, AttributeError, KeyError):
        return {}  # a configuration of another library's; names tell less, but enough
    called = aligned(ours, names)
    whole = {theirs: roles.get(own.rpartition(".")[0]) for theirs, own in called.items()}
    heads = {} if not called else {name: "head" for name in names if name not in called and _by_name(name) == "head"}
    return {**{name: role for name, role in whole.items() if role}, **heads}


def _of_a_blank_model(config: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """Module -> role, and all tensors' names, of the body that the configuration describes."""
    from transformers import AutoModel
    from transformers.initialization import no_init_weights

    from luthier.models.anatomy import read
    from luthier.models.blank import faking
    from luthier.models.load import read_configuration
    from luthier.models.quiet import quiet

    with tempfile.TemporaryDirectory() as folder, quiet():
        (Path(folder) / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
        settings = read_configuration(folder, "config.json", {})
    with faking(), quiet(), no_init_weights():
        model = AutoModel.from_config(settings, trust_remote_code=False)
        roles = {module: role for role, modules in read(model).roles.items() for module in modules}
        return roles, set(model.state_dict())
