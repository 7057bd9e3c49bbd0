"""SetFit: a sentence encoder learns which texts belong together, then a light classifier reads its vectors.

With a few examples of each class there are many pairs of them. Each batch holds some of every class; each of its texts
is encoded once, and all its pairs are compared: the vectors of one class are to be alike, those of two are not. Then a
logistic regression is fitted on the vectors. Tunstall et al. 2022, https://arxiv.org/abs/2209.11055.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from jaxtyping import Bool
from numpy import ndarray
from pydantic import Field
from transformers import PreTrainedModel

from luthier.component import Facts
from luthier.data.balanced import Balanced
from luthier.data.batching import Batching
from luthier.errors import MethodError, RecipeError
from luthier.methods import Method, Stage
from luthier.methods import _sentence_files as on_disk
from luthier.methods._classifier import FEWEST_TO_CALIBRATE, FITS, Penalty, Targets, Vectors, temperature
from luthier.methods._library_pairs import LibraryPairs, PairsOfABatch, Strategy
from luthier.methods._vectors import vectors_of
from luthier.models import sentence_head, sentences
from luthier.models.processor import Processor
from luthier.models.sentences import Pooling, Sentences
from luthier.tasks import Task
from luthier.tasks.sentence_similarity import SentenceSimilarity

FEWEST_STEPS, FEW_STEPS, MOST_STEPS = 4, 10, 1000
"""Of a run; and up to how many go twice as far."""


class Setfit(Method):
    """A sentence encoder and a light classifier, for a few examples of each class."""

    keeps_apart: ClassVar[bool] = False
    takes_packed_rows: ClassVar[bool] = False

    sampling: Literal["batch", "pairs"] = "batch"
    """batch: every pair of a batch whose texts are encoded once; pairs: pair after pair, in the setfit library's order,
    of which training.batch_size holds half as many."""
    objective: Literal["squared", "contrast"] = "squared"
    """squared: similarities are to be 1 or 0; contrast: those of the same class are to be told from the others."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """What similarities are divided by under contrast."""
    hard: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each text's pairs that count, the hardest ones."""
    enough: Annotated[float, Field(ge=0)] = 0.005
    """Training loss, over the steps of a log line, at which the classes are apart and the encoder is done."""
    strategy: Strategy = "oversampling"
    """sampling: pairs: what happens where pairs of one label and of two are not equally many."""
    num_iterations: Annotated[int, Field(gt=0)] | None = None
    """sampling: pairs: pairs of either kind for each row, in place of a strategy."""
    head: Literal["logistic", "torch"] = "logistic"
    """logistic: scikit-learn's regression; torch: the task's own loss, with label smoothing, under the same penalty."""
    c: Annotated[float, Field(gt=0)] = 1.0
    """Inverse strength of the classifier's penalty."""
    calibrate: bool = True
    """Whether the classifier's temperature is chosen on the validation rows, where there are 20 at least."""
    label_names: Annotated[str, Field(pattern=r"\{\}")] | None = None
    """A sentence with {} in which each label's name is a training text more, as in "This is about {}."; null: none."""
    pooling: Pooling | Literal["auto"] = "auto"
    """How tokens become one vector; auto: as the model's folder says, else the mean, of a decoder the last token."""
    normalize: bool | Literal["auto"] = "auto"
    """Whether vectors are brought to length 1; auto: as the model's folder says."""

    def learning_rate(self, facts: Facts) -> float:
        rate = 5e-5 if facts.num_parameters < 50e6 else 3e-5 if facts.num_parameters < 400e6 else 1e-5
        is_short = (self.num_steps(facts) or MOST_STEPS) <= FEW_STEPS
        return 2 * rate if is_short else rate

    def num_steps(self, facts: Facts) -> int | None:
        """Each text some eight times, in batches of 32; more steps part the vectors further, and predict no better."""
        return None if self.sampling == "pairs" else min(MOST_STEPS, max(FEWEST_STEPS, facts.num_rows // 4))

    def require(self, task: Task) -> None:
        if task.kind() != "text-classification":
            raise RecipeError(f"method: setfit is for text-classification, not for {task.kind()}")
        if getattr(task, "problem", None) == "regression":
            raise RecipeError("method: setfit tells classes apart, and these labels are numbers; say method=full")
        if self.head == "logistic" and task.model_dump().get("label_smoothing"):
            raise RecipeError(
                "task.label_smoothing: a logistic regression has none; leave it out, or say method.head=torch"
            )
        if self.sampling == "pairs" and self.enough != type(self).model_fields["enough"].default:
            raise RecipeError("method.enough: is for method.sampling=batch; leave it out")
        if self.objective == "squared" and self.temperature != type(self).model_fields["temperature"].default:
            raise RecipeError("method.temperature: is for method.objective=contrast; leave it out")
        if self.sampling == "batch" and (self.strategy != "oversampling" or self.num_iterations is not None):
            raise RecipeError("method.strategy, method.num_iterations: are for method.sampling=pairs; leave them out")
        if self.sampling == "pairs" and (self.objective != "squared" or self.hard < 1):
            raise RecipeError("method.objective, method.hard: are for method.sampling=batch; leave them out")

    def resolve(self, facts: Facts) -> Self:
        if facts.model is None:
            return self
        usual = sentences.usual(facts.model)
        said = {"pooling": self.pooling, "normalize": self.normalize}
        chosen = {name: getattr(usual, name) if value == "auto" else value for name, value in said.items()}
        return self.model_copy(update=chosen)

    def apply(self, model: PreTrainedModel, *, generator: torch.Generator) -> None:
        if model.config.is_encoder_decoder or model.main_input_name != "input_ids":
            raise MethodError("method: setfit reads sentences with an encoder or a decoder; choose such a model")
        model.requires_grad_(False)
        body = model.base_model
        body.requires_grad_(True).float()
        if isinstance(pooler := getattr(body, "pooler", None), torch.nn.Module):
            pooler.requires_grad_(False)  # of the states, which are all that is read, it tells nothing
        sentence_head.give(model, on_disk.head_of(self._how(), model))

    def taught(self, rows: Dataset, task: Task) -> Dataset:
        if self.label_names is None:
            return rows
        kind = rows.features["label"]
        if "text_pair" in rows.column_names or getattr(getattr(kind, "feature", kind), "dtype", None) != "string":
            raise MethodError("method.label_names: needs rows of one text, with words for labels; leave it out")
        labels = task.model_dump()["labels"]
        texts = [self.label_names.replace("{}", label.replace("_", " ")) for label in labels]
        given = [[label] for label in labels] if hasattr(kind, "feature") else labels
        return concatenate_datasets([rows, Dataset.from_dict({"text": texts, "label": given}, features=rows.features)])

    def stage(self, task: Task) -> Stage:
        how: dict[str, Any] = {"rows": "labelled", "pooling": self.pooling, "normalize": self.normalize}
        if self.sampling == "pairs":
            return Stage(PairsOfABatch.model_validate(how), self._pairs, is_judged=False)
        how |= {"objective": self.objective, "temperature": self.temperature, "hard": self.hard}
        return Stage(SentenceSimilarity.model_validate(how), self._balanced, enough=self.enough, is_judged=False)

    def _balanced(self, rows: Dataset, batch_size: int, seed: int) -> Batching:
        """Every class in equal parts; rows without any label are one more."""
        targets = np.asarray(rows["target"][:])
        is_of = np.eye(targets.max() + 1)[targets] if targets.ndim == 1 else targets
        classes = [each for column in [*is_of.T, ~is_of.any(1)] if len(each := np.flatnonzero(column))]
        if len(classes) < 2:
            raise MethodError("method: setfit tells classes apart, and all training rows have the same label")
        if self.objective == "contrast" and max(map(len, classes)) < 2:
            raise MethodError("method.objective: contrast needs two rows of some class; say squared")
        return Balanced(rows["length"][:], batch_size, seed=seed, classes=classes)

    def _pairs(self, rows: Dataset, batch_size: int, seed: int) -> Batching:
        lengths, targets = rows["length"][:], np.asarray(rows["target"][:])
        return LibraryPairs(
            lengths, batch_size, None, seed, targets=targets, strategy=self.strategy, num_iterations=self.num_iterations
        )

    def settle(
        self, model: PreTrainedModel, task: Task, rows: Mapping[str, Dataset], processor: Processor, **how: Any
    ) -> list[str]:
        read = self._vectors(model, rows, processor, how)
        labels = {name: np.asarray(rows[name]["target"][:]) for name in read}
        penalty = Penalty(self.c, getattr(task, "class_weights", "none"), getattr(task, "label_smoothing", 0.0))
        fitted = FITS[self.head](read["train"], labels["train"], len(task.tally(rows["train"])), penalty)
        note, warmth = list[str](), 1.0
        known = _known(labels)
        if self.calibrate and known.sum() >= FEWEST_TO_CALIBRATE:
            logits = torch.from_numpy(read["validation"][known]) @ fitted.weight.T + fitted.bias
            warmth = temperature(logits, torch.from_numpy(labels["validation"][known]))
            note = [f"classifier: its logits are divided by {warmth:.2g}, chosen on {len(logits)} validation rows"]
        head = sentence_head.of(model)
        assert head is not None, "apply gives the model one"
        head.settle(fitted.weight / warmth, fitted.bias / warmth)
        return note

    def _vectors(
        self, model: PreTrainedModel, rows: Mapping[str, Dataset], processor: Processor, how: Mapping[str, Any]
    ) -> dict[str, Vectors]:
        """Of the splits that the classifier is made by."""
        task = SentenceSimilarity(rows="labelled", pooling=self.pooling, normalize=self.normalize)
        sizes = {name: how[name] for name in ("batch_size", "batch_tokens")}
        chosen = [name for name in ("train", "validation") if name in rows]
        return {name: vectors_of(model, task, rows[name], processor, **sizes) for name in chosen}

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        super().save(model, folder)
        on_disk.write_head(model, folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        super().load(model, folder)
        on_disk.read_head(model, folder)

    def write(self, model: PreTrainedModel, task: Task, folder: Path) -> None:
        how = replace(self._how(), max_length=getattr(task, "max_length", None))
        on_disk.write(model, how, folder, several=_has_several(model))

    def reopen(self, model: PreTrainedModel, task: Task, folder: Path) -> None:
        sentence_head.give(model, on_disk.head_of(self._how(), model))
        on_disk.read_head(model, folder)

    def _how(self) -> Sentences:
        assert self.pooling != "auto" and self.normalize != "auto", "settings must be resolved before they are used"
        return Sentences(self.pooling, self.normalize)


def _known(labels: Mapping[str, Targets]) -> Bool[ndarray, " rows"]:
    """The validation rows whose label some training row has."""
    held_out = labels.get("validation", np.empty(0))
    return np.isin(held_out, labels["train"]) if held_out.ndim == 1 else np.ones(len(held_out), bool)


def _has_several(model: PreTrainedModel) -> bool:
    return bool(model.config.problem_type == "multi_label_classification")
