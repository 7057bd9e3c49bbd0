"""The sections of a run's report, each written from its evidence; an empty one is left out."""

import shlex
from collections.abc import Callable
from pathlib import Path

from luthier.data.places import public_name
from luthier.report import score_tables
from luthier.report.evidence import Evidence
from luthier.report.findings import findings
from luthier.report.markup import Markup, join, table, tag
from luthier.report.plots import Line, chart
from luthier.report.words import count, duration, percent, setting, size

SHOWN_HASH = 12
"""Characters of a hash: enough to compare by eye, and to be unique among a person's files."""


def _facts(*pairs: tuple[str, object]) -> Markup:
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in pairs))


def _list(sentences: list[str]) -> Markup:
    return tag("ul", *(tag("li", sentence) for sentence in sentences)) if sentences else Markup("")


def _recipe(evidence: Evidence) -> Markup:
    text = (evidence.run.folder / "recipe.yaml").read_text(encoding="utf-8")
    told = tag("summary", f"recipe.yaml, every setting written out ({len(text.splitlines())} lines)")
    return tag("details", told, tag("pre", text))


def _data(evidence: Evidence) -> Markup:
    rows = [[split, count(number_of_rows)] for split, number_of_rows in evidence.rows.items()]
    return join([table(["split", "rows"], rows), _list(evidence.notes)])


def _model(evidence: Evidence) -> Markup:
    model, recipe = evidence.last("model"), evidence.recipe
    share = percent(model["trainable"] / model["parameters"])
    settings = [f"{name} {setting(value)}" for name, value in recipe.method.model_dump().items()]
    return _facts(
        ("Model", public_name(recipe.model.name)),
        ("Parameters", count(model["parameters"])),
        ("Learnt", f"{count(model['trainable'])} ({share})"),
        ("Method", recipe.method.kind()),
        *([("Settings", ", ".join(settings))] if settings else []),
    )


def _training(evidence: Evidence) -> Markup:
    trained, steps, evaluations = evidence.last("trained"), evidence.steps, evidence.all("evaluation")
    loss = [(step["step"], step["loss"]) for step in steps]
    validation_loss = [(record["step"], record["loss"]) for record in evaluations]
    watched = evidence.main.name
    watching = [(record["step"], record[watched]) for record in evaluations if watched in record]
    charts = [
        chart("Loss", [Line("training", loss), Line("validation", validation_loss)]),
        chart(f"{watched} on validation rows", [Line(watched, watching)]) if watched != "loss" else "",
        chart("Learning rate", [Line("learning rate", [(step["step"], step["learning_rate"]) for step in steps])]),
    ]
    facts = _facts(
        ("Steps", count(trained["steps"])),
        ("State kept", f"that of step {count(trained['best_step'])}"),
        ("Speed", f"{count(round(trained['tokens_per_s']))} tokens/s"),
        ("Padding", percent(trained["padding"])),
    )
    return join([tag("div", *charts, class_="charts"), facts])


def _scores(evidence: Evidence) -> Markup:
    told = tag("p", "Each value with its 95 % interval, by bootstrap over the split's rows.", class_="muted")
    parts = [score_tables.scores(evidence), told, score_tables.per_label(evidence), score_tables.confusion(evidence)]
    return join(parts)


def _findings(evidence: Evidence) -> Markup:
    return _list(findings(evidence.run)) or tag("p", "None: the figures hold nothing that asks for attention.")


def _self_check(evidence: Evidence) -> Markup:
    check = evidence.last("self-check")
    if not check:
        return Markup("")
    word = "passed" if check["passed"] else "failed"
    told = (
        f": the saved model was loaded in a fresh process and answered {check['rows']} rows again; "
        f"the largest difference to the trained model is {check['difference']:.2g}."
    )
    if folded := evidence.last("folded"):
        told = told.replace("the trained model", "the folded model")
        told += f" Folding into plain weights moved the answers by {folded['difference']:.2g}."
    return tag("p", tag("b", word.capitalize(), class_=word), told)


def _cost(evidence: Evidence) -> Markup:
    trained, device = evidence.last("trained"), evidence.environment["device"]
    whole = evidence.records[-1]["time"] - evidence.records[0]["time"]
    return _facts(
        ("Training", duration(trained["duration_s"])),
        ("Whole run", duration(whole)),
        ("Peak memory", size(trained["peak_bytes"])),
        ("Device", f"{device['name']} ({device['kind']}, {device['threads']} threads)"),
    )


def _use(evidence: Evidence) -> Markup:
    folder, sample = str(evidence.run.folder), evidence.recipe.task.sample
    python = f"import luthier\n\nrun = luthier.load({folder!r})\nrun.predict([{sample!r}])"
    asked = shlex.quote(sample) if isinstance(sample, str) else "--file rows.jsonl"
    parts = [tag("pre", python), tag("pre", f"luthier predict {shlex.quote(folder)} {asked}")]
    model = str(Path(folder) / "model")
    if loading := evidence.loading(model):
        parts.append(tag("pre", loading))
    if evidence.is_in_pipelines:
        pipeline = f"from transformers import pipeline\n\npipeline({evidence.recipe.task.pipeline!r}, model={model!r})"
        parts.append(tag("pre", pipeline))
    return join(parts)


def _environment(evidence: Evidence) -> Markup:
    environment = evidence.environment
    hashes = {f"{split} rows": text for split, text in environment["data_sha256"].items()}
    hashes |= environment["model_sha256"] or {}
    commit = environment["git_commit"]
    return _facts(
        *environment["versions"].items(),
        *((name, tag("code", text[:SHOWN_HASH])) for name, text in hashes.items()),
        *([("git commit", tag("code", commit[:SHOWN_HASH]))] if commit else []),
    )


SECTIONS: dict[str, Callable[[Evidence], Markup]] = {
    "Recipe": _recipe,
    "Data": _data,
    "Model and method": _model,
    "Training": _training,
    "Scores": _scores,
    "Findings": _findings,
    "Self-check": _self_check,
    "Cost": _cost,
    "Use": _use,
    "Environment": _environment,
}
"""In the order of a run."""
