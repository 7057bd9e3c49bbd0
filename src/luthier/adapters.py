"""An adapter's folder on a plain model: what was learnt, and of which base and method it is; never the base itself.

Beside the weights lies `luthier.json`, which tells Luthier's settings and the base's fingerprint; a folder that PEFT
wrote has none, and is known by its own configuration.
"""

from pathlib import Path

import torch
from pydantic_core import PydanticCustomError
from transformers import PreTrainedModel

from luthier.component import find
from luthier.errors import MethodError
from luthier.methods import ABOUT_FILE, Method, read_json
from luthier.methods._peft import CONFIG
from luthier.models.processor import Processor

OF_PEFT, OF_OURS = "_TUNING", "LUTHIER_"
"""How names of methods in PEFT's files end and begin where ours do not: PREFIX_TUNING is prefix here, and so is
LUTHIER_PREFIX, which says what PEFT has no words for."""


def attach(model: PreTrainedModel, folder: str | Path, *, processor: Processor | None = None) -> Method:
    """Hang an adapter, Luthier's or PEFT's, on a plain model of its base, in place; -> its method.

    The method folds it into the weights, or switches it off for a while. One that has new tokens needs the tokenizer,
    which gets them. Raises MethodError where the folder holds no adapter that can be read, or one of another model.
    """
    path = Path(folder)
    method = _method_of(path)
    if processor is not None:
        method.extend(model, processor)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    method.load(model, path)
    return method


def _method_of(folder: Path) -> Method:
    if (folder / ABOUT_FILE).is_file():
        return _kind(str(read_json(folder / ABOUT_FILE).get("method", {}).get("kind")), folder).told(folder)
    if not (folder / CONFIG).is_file():
        raise MethodError(f"{folder}: holds no adapter: neither {ABOUT_FILE} nor {CONFIG} is there")
    named = str(read_json(folder / CONFIG).get("peft_type"))
    return _kind(named.removeprefix(OF_OURS).removesuffix(OF_PEFT).lower(), folder).read(folder)


def _kind(kind: str, folder: Path) -> type[Method]:
    try:
        found = find("methods", kind)
    except PydanticCustomError as error:
        raise MethodError(f"{folder}: {error.message()}") from None
    assert issubclass(found, Method)
    return found
