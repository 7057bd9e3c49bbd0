"""The model card of a run: README.md as the Hugging Face hub reads it.

It may be published, so it holds no text of the user's rows, no path of this machine and no person's name.
"""

import html
import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from luthier.data.places import public_name
from luthier.report.evidence import OF_LABEL, SPLITS, Evidence
from luthier.report.findings import findings
from luthier.report.words import MISSING, count, percent, setting, with_interval
from luthier.run import Run

_ACTIVE = re.compile(r"([\\`*_\[\]|~$])")
"""What Markdown would read as more than a letter."""


def card(run: Run) -> str:
    """The whole card."""
    evidence = Evidence.of(run)
    parts = [_front(evidence), *_about(evidence), *_use(evidence), *_scores(evidence), *_data(evidence)]
    parts += [*_method(evidence), *_limits(run), *_environment(evidence)]
    return "\n\n".join(parts) + "\n"


def _front(evidence: Evidence) -> str:
    """What the hub's search and widgets read."""
    recipe = evidence.recipe
    front: dict[str, Any] = {
        "library_name": evidence.library,
        "pipeline_tag": recipe.task.pipeline,
        "tags": ["luthier", recipe.method.kind()],
    }
    if _is_from_hub(evidence):
        front["base_model"] = recipe.model.name
    if results := _results(evidence):
        front["metrics"] = list(dict.fromkeys(result["type"] for result in results))
        front["model-index"] = [{"name": evidence.name, "results": [_result(evidence, results)]}]
    stream = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(_quoted(front), stream)
    return f"---\n{stream.getvalue()}---"


def _is_from_hub(evidence: Evidence) -> bool:
    """Weights that were on this machine have been hashed; those of the hub have a commit there."""
    return evidence.environment["model_sha256"] is None


def _results(evidence: Evidence) -> list[dict[str, Any]]:
    """Each score of the judged split as the hub's model-index has it; single labels' and undefined ones left out."""
    if evidence.judged is None:
        return []
    return [
        {"type": metric.kind(), "name": name, "value": round(score.value, 4)}
        for name, metric in evidence.metrics.items()
        if not name.startswith(OF_LABEL) and (score := evidence.score(evidence.judged, name))
    ]


def _result(evidence: Evidence, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    split, task = evidence.judged, evidence.recipe.task
    dataset = {"type": "own-rows", "name": f"the run's {split} rows", "split": split}
    return {"task": {"type": task.pipeline, "name": _spaced(task.kind())}, "dataset": dataset, "metrics": metrics}


def _quoted(value: Any) -> Any:
    """Every text in quotes: the hub reads YAML 1.1, where a bare no is false and 1e5 may be a text."""
    if isinstance(value, dict):
        return {key: _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) else value


def _about(evidence: Evidence) -> list[str]:
    recipe = evidence.recipe
    base = public_name(recipe.model.name)
    linked = f"[{_plain(base)}](https://huggingface.co/{base})" if _is_from_hub(evidence) else _plain(base)
    told = (
        f"{linked}, fine-tuned for {_spaced(recipe.task.kind())} with the method `{recipe.method.kind()}` of Luthier."
    )
    labels = f"Labels: {', '.join(map(_plain, evidence.labels))}." if evidence.labels else ""
    return [part for part in (f"# {_plain(evidence.name)}", told, labels) if part]


def _use(evidence: Evidence) -> list[str]:
    folder, task = evidence.name, evidence.recipe.task
    sample = repr(task.sample)
    run = f"import luthier\n\nrun = luthier.load({folder!r})  # the run's folder\nrun.predict([{sample}])"
    blocks = [_python(run)]
    if evidence.is_in_pipelines:
        pipeline = (
            "from transformers import pipeline\n\n"
            f"model = pipeline({task.pipeline!r}, model={folder + '/model'!r})  # or its name on the hub\n"
            f"model({sample})"
        )
        blocks.insert(0, _python(pipeline))
    if loading := evidence.loading(folder + "/model"):
        blocks.insert(0, _python(f"{loading}  # or its name on the hub"))
    return ["## How to use it", *blocks]


def _scores(evidence: Evidence) -> list[str]:
    splits = [split for split in SPLITS if split in evidence.scores]
    rows = [
        [name, *(with_interval(score) if (score := evidence.score(split, name)) else MISSING for split in splits)]
        for name in evidence.names
    ]
    told = "Each value with its 95 % interval, by bootstrap over the split's rows."
    return ["## Scores", told, _table(["metric", *splits], rows)]


def _data(evidence: Evidence) -> list[str]:
    hashes = evidence.environment["data_sha256"]
    rows = [[split, count(rows), f"`{hashes[split]}`"] for split, rows in evidence.rows.items()]
    return ["## Training data", _table(["split", "rows", "SHA-256"], rows)]


def _method(evidence: Evidence) -> list[str]:
    recipe, model, trained = evidence.recipe, evidence.last("model"), evidence.last("trained")
    share = percent(model["trainable"] / model["parameters"])
    told = (
        f"`{recipe.method.kind()}` learnt {count(model['trainable'])} of {count(model['parameters'])} parameters "
        f"({share}) in {count(trained['steps'])} steps."
    )
    training = recipe.training
    learning = {
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "optimizer": training.optimizer.kind(),
        "schedule": training.schedule.kind(),
        "precision": training.precision,
        "seed": training.seed,
    }
    settings = {f"method.{name}": value for name, value in recipe.method.model_dump().items()}
    settings |= {} if recipe.model.quantize == "none" else {"model.quantize": recipe.model.quantize}
    settings |= {f"training.{name}": value for name, value in learning.items()}
    rows = [[f"`{name}`", _plain(setting(value))] for name, value in settings.items()]
    return ["## Method", told, _table(["setting", "value"], rows)]


def _limits(run: Run) -> list[str]:
    found = findings(run)
    return ["## Limits", "\n".join(f"- {_plain(sentence)}" for sentence in found)] if found else []


def _environment(evidence: Evidence) -> list[str]:
    versions = evidence.environment["versions"]
    device = evidence.environment["device"]
    used = ", ".join(f"{name} {number}" for name, number in versions.items())
    return ["## Environment", f"Trained on {_plain(device['name'])} ({device['kind']}) with {used}."]


def _spaced(kind: str) -> str:
    return kind.replace("-", " ")


def _plain(text: str) -> str:
    """Foreign text that stays text: neither HTML nor Markdown, on one line."""
    return _ACTIVE.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _python(code: str) -> str:
    return f"```python\n{code}\n```"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
