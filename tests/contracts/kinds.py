"""Every kind of every group, found as a recipe would find it: a new file is tested by itself."""

from typing import Any

from luthier.component import GROUPS, Component, find, names

KINDS = [(group, kind) for group in GROUPS for kind in names(group)]

NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("methods", "prompt"): {"length": 3},  # rows of two words drown in twenty embeddings
}
"""Settings of kinds that have one without a default, or whose default is not for tiny rows."""

VARIANTS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("methods", "adapter"): [
        {"placement": "houlsby", "reduction": 4.0, "activation": "gelu", "norm": True, "dropout": 0.1},
        {"placement": "parallel", "reduction": 2.0, "blocks": ["last-2"]},
    ],
    ("methods", "lora"): [
        {"rank": 4, "bias": "targets", "rank_stabilized": True, "targets": ["attention"]},
        {"rank": 4, "dora": True, "start": "pissa", "learning_rate_ratio": 4.0, "alphas": {"attention": 8.0}},
        {"targets": ["all-linear", "embedding"], "also_train": ["norm"], "ranks": {"attention": 4}},
    ],
    ("methods", "prefix"): [
        {"length": 4, "reparametrize": 16},
        {"length": 4, "start": "text", "tokens": [5, 6, 7, 8], "positions": "shifted"},
    ],
    ("methods", "prompt"): [
        {"length": 3, "start": "text", "tokens": [5, 6, 7]},
    ],
    ("methods", "partial"): [
        {"train": ["head", "last-2", "norm"]},
        {"train": "all", "freeze": ["embedding", "first-2"], "layer_decay": 0.9, "rates": {"head": 2.0}},
    ],
    ("merges", "model-stock"): [{"filter_wise": True}],
    ("merges", "nuslerp"): [
        {"nuslerp_flatten": False},
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    ],
    ("schedules", "cosine"): [{"floor": 0.1, "warmup": 0.0}],
    ("optimizers", "sgd"): [{"momentum": 0.0}],
    ("schedulers", "asha"): [{"cost_aware": True}, {"looks": 0.4}],
    ("schedulers", "median"): [{"grace": 1}],
}
"""Settings that change much, tested beside the usual ones."""


def make(group: str, kind: str) -> Any:
    """A kind's component with no more settings than it needs."""
    return find(group, kind).model_validate(NEEDED.get((group, kind), {}))


def all_of(group: str) -> list[Any]:
    """Every kind of a group, made with no more settings than it needs, and its variants."""
    return [
        component
        for kind in names(group)
        for component in [
            make(group, kind),
            *(find(group, kind).model_validate(settings) for settings in VARIANTS.get((group, kind), [])),
        ]
    ]


def kind_of(component: object) -> str | None:
    """A test's name for a component: its kind, and what was set."""
    if not isinstance(component, Component):
        return None
    said = component.model_dump(exclude_defaults=True)
    return "-".join([component.kind(), *(str(value).replace(" ", "") for value in said.values())])
