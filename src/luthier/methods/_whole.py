"""Modules of the base that learn as a whole beside what a method inserts; PEFT calls them modules_to_save."""

from collections.abc import Collection, Sequence

from transformers import PreTrainedModel

from luthier.errors import MethodError
from luthier.models.selectors import select_modules


def learn_whole(model: PreTrainedModel, selectors: Sequence[str], served: Collection[str], *, where: str) -> None:
    """Let the selected modules learn, held in fp32, of which none is a layer that the method serves already.

    Raises MethodError where one is, or where a selector means no module.
    """
    for name in select_modules(model, selectors, where=where):
        if name in served:
            raise MethodError(f"{where}: {name} is one of method.targets; a layer learns whole or by its update")
        for parameter in model.get_submodule(name).parameters(recurse=False):
            parameter.requires_grad_(True)
            parameter.data = parameter.data.float()
