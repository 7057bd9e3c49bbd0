"""Which tensors a selector of the house means: `attention`, `feed-forward`, `last-2`, `re:...`.

The anatomy is read from a model of the same configuration that is built without numbers, so nothing is loaded; only
recipes that use selectors wait for it.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import LuthierError, MergeError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Selects = Callable[[str, str], bool]
"""Whether a selector means a tensor."""


def selection(folder: Path, names: Mapping[str, object], *, where: str) -> Selects:
    """How selectors are understood for the tensors of a model's folder; built when first asked.

    Raises MergeError, when asked, where a selector means nothing in this model, or where it cannot be built.
    """

    @cache
    def chosen(selector: str) -> frozenset[str]:
        from luthier.models.selectors import select

        model = _model()
        try:
            parameters = select(model, [selector], where=where)
        except LuthierError as error:
            raise MergeError(str(error)) from None
        return frozenset(_stored_as(parameters, names, model.base_model_prefix))

    @cache
    def _model() -> "PreTrainedModel":
        return blank_model(folder, where=where)

    return lambda selector, tensor: tensor in chosen(selector)


def blank_model(folder: Path, *, where: str) -> "PreTrainedModel":
    """The model of a folder's configuration, on no device; raises MergeError where transformers does not know it."""
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        named = next(iter(config.architectures or ()), None)
        kind = getattr(transformers, named, None) if named else None
        with torch.device("meta"):
            built = kind(config) if kind is not None else transformers.AutoModel.from_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MergeError(f"{where}: selectors need a model that transformers knows: {first}") from None
    assert isinstance(built, transformers.PreTrainedModel)
    return built


def _stored_as(parameters: tuple[str, ...], names: Mapping[str, object], prefix: str) -> list[str]:
    """The names in the file; a body may be saved with its head's prefix or without."""
    found = []
    for parameter in parameters:
        forms = (parameter, f"{prefix}.{parameter}", parameter.removeprefix(f"{prefix}."))
        found += [form for form in forms if form in names][:1]
    return found
