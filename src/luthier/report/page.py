"""The report of a run: one page of HTML that needs nothing else, in the order of the run itself.

It holds figures and settings, and no text of the user's rows.
"""

from collections.abc import Mapping
from pathlib import Path

from luthier.data.places import public_name
from luthier.report.evidence import Evidence
from luthier.report.markup import Markup, join, tag
from luthier.report.sections import SECTIONS
from luthier.report.words import count, duration, interval, number, percent
from luthier.run import Run

STYLE = Path(__file__).with_name("page.css")


def page(run: Run) -> str:
    """The whole page."""
    evidence = Evidence.of(run)
    sections = ((title, write(evidence)) for title, write in SECTIONS.items())
    body = join(
        tag("section", tag("h2", title), tag("div", content), id=title.lower().replace(" ", "-"))
        for title, content in sections
        if content
    )
    return document(evidence.name, _heading(evidence), body)


def of_sections(title: str, sections: Mapping[str, Markup]) -> str:
    """A page of a title and what stands under each head; one that is empty is left out."""
    body = join(tag("section", tag("h2", head), tag("div", content)) for head, content in sections.items() if content)
    return document(title, tag("h1", title), body)


def document(title: str, *content: Markup) -> str:
    """A page of HTML that needs nothing else."""
    head = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{tag('title', title, ' | Luthier')}<style>{STYLE.read_text(encoding='utf-8')}</style>"
    )
    main = tag("main", *content)
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', main), lang='en')}\n"


def _heading(evidence: Evidence) -> Markup:
    recipe, model, trained = evidence.recipe, evidence.last("model"), evidence.last("trained")
    figures = [
        ("Learnt", percent(model["trainable"] / model["parameters"]), f"{count(model['trainable'])} parameters"),
        ("Trained in", duration(trained["duration_s"]), evidence.environment["device"]["name"]),
        ("Self-check", *_self_check_in_short(evidence)),
    ]
    if evidence.judged and (score := evidence.score(evidence.judged)):
        figures.insert(0, (f"{evidence.main.name}, {evidence.judged}", number(score.value), interval(score)))
    told = f"{public_name(recipe.model.name)} · {recipe.task.kind()} · {recipe.method.kind()}"
    return join(
        [
            tag("h1", evidence.name),
            tag("p", told, class_="muted"),
            tag("dl", *(_figure(*figure) for figure in figures), class_="headline"),
        ]
    )


def _figure(name: str, value: object, beside: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value), tag("small", beside))


def _self_check_in_short(evidence: Evidence) -> tuple[Markup, str]:
    check = evidence.last("self-check")
    if not check:
        return tag("span", "not run", class_="muted"), ""
    word = "passed" if check["passed"] else "failed"
    return tag("span", word, class_=word), f"{check['rows']} rows predicted again"
