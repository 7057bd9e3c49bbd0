"""Which part of a head must be learnt where a method freezes the base: whatever is new in it.

A classifier's head belongs to its labels, so all of it is learnt. A language model's head is pretrained, and often tied
to the embedding: it stays frozen but for the weights that its file lacks.
"""

from collections.abc import Collection

from transformers import PreTrainedModel

from luthier.models.selectors import select

NEW = "new_parameters"
"""The attribute that keeps, on a model that was loaded, the names of the parameters that its file lacks."""


def remember_new(model: PreTrainedModel, names: Collection[str]) -> None:
    """Keep which parameters were drawn, as they were not in the file."""
    setattr(model, NEW, frozenset(names))


def head_to_learn(model: PreTrainedModel, *, where: str) -> list[str]:
    """The names of the head's parameters that are to be learnt with whatever else is."""
    if model.base_model is model and model.get_output_embeddings() is None:
        return []  # a body alone
    head = select(model, ("head",), where=where)
    if model.get_output_embeddings() is None:
        return list(head)
    new: Collection[str] = getattr(model, NEW, ())
    return [name for name in head if name in new]


def learn_head(model: PreTrainedModel, *, where: str) -> None:
    """Let learn what is to be learnt of the head, held in fp32."""
    for name in head_to_learn(model, where=where):
        parameter = model.get_parameter(name).requires_grad_(True)
        parameter.data = parameter.data.float()
