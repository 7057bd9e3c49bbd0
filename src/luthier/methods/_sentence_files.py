"""A classifier of sentence vectors on disk: a sentence-transformers folder, and its head in safetensors.

Beside it lies the same head as the setfit library reads it. Luthier opens no pickle; it writes one, as that library
reads nothing else.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from luthier import files
from luthier.errors import MethodError
from luthier.models import sentence_head, sentences
from luthier.models.sentence_head import SentenceHead
from luthier.models.sentences import Sentences

HEAD = "sentence_head.safetensors"
THEIR_HEAD, THEIR_CONFIG = "model_head.pkl", "config_setfit.json"


def write(model: PreTrainedModel, how: Sentences, folder: Path, *, several: bool) -> None:
    """The body, how vectors are made, and the head; `several`: whether a text may have several labels."""
    body: PreTrainedModel = model.base_model  # type: ignore[assignment]
    body.save_pretrained(folder)
    sentences.write(folder, how, sentences.width_of(body))
    write_head(model, folder)
    named: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    labels = [named[number] for number in range(len(named))]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    numbers = {label: number for number, label in enumerate(labels)}
    files.write_json(folder / "config.json", {**config, "id2label": named, "label2id": numbers})
    files.write_json(folder / THEIR_CONFIG, {"labels": None if several else labels, "normalize_embeddings": False})
    _write_theirs(_head(model), folder / THEIR_HEAD, several)


def write_head(model: PreTrainedModel, folder: Path) -> None:
    """The head alone."""
    tensors = {name: tensor.contiguous() for name, tensor in _head(model).state_dict().items()}
    save_file(tensors, folder / HEAD, metadata={"format": "pt"})


def read_head(model: PreTrainedModel, folder: Path) -> None:
    """Put the weights of a folder's head into the model's.

    Raises MethodError where there is none, or it is of another shape.
    """
    path = folder / HEAD
    if not path.is_file():
        raise MethodError(f"{folder}: holds no {HEAD}")
    head, found = _head(model), load_file(path)
    if {name: each.shape for name, each in found.items()} != {n: each.shape for n, each in head.state_dict().items()}:
        raise MethodError(f"{path}: is a head of another model, or of other labels")
    head.load_state_dict(found)


def _head(model: PreTrainedModel) -> SentenceHead:
    head = sentence_head.of(model)
    assert head is not None, "apply gives the model one"
    return head


def _write_theirs(head: SentenceHead, path: Path, several: bool) -> None:
    """Scikit-learn's own objects, with our weights."""
    import joblib

    weight, bias = (tensor.detach().cpu().double().numpy() for tensor in (head.weight, head.bias))
    made = _one_for_each(weight, bias) if several else _of_many(weight, bias)
    joblib.dump(made, path)


def _of_many(weight: Any, bias: Any) -> Any:
    if len(weight) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        return _regression(weight, bias, np.arange(2))
    return _regression(weight, bias, np.arange(len(weight)))


def _one_for_each(weight: Any, bias: Any) -> Any:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    made = OneVsRestClassifier(_regression(weight[:1], bias[:1], np.arange(2)))
    made.estimators_ = [_regression(weight[n : n + 1], bias[n : n + 1], np.arange(2)) for n in range(len(weight))]
    # Of an indicator matrix, which has all labels in some row.
    made.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(
        np.eye(max(2, len(weight)), dtype=int)[:, : len(weight)]
    )
    made.n_features_in_ = weight.shape[1]
    return made


def _regression(weight: Any, bias: Any, classes: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression()
    made.coef_, made.intercept_, made.classes_ = weight, bias, classes
    made.n_features_in_, made.n_iter_ = weight.shape[1], np.ones(1, dtype=np.int32)
    return made


def head_of(how: Sentences, model: PreTrainedModel) -> SentenceHead:
    """A head for a model's labels, which knows nothing yet."""
    num_labels = model.config.num_labels
    assert num_labels is not None, "a classifier's configuration tells it"
    return SentenceHead(how, sentences.width_of(model), num_labels).to(model.device)
