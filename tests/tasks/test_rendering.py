"""A foreign chat template is rendered in a child that its limits stop, and writes there what it writes here."""

import json

import pytest

from luthier.errors import ModelError
from luthier.tasks import _rendering
from luthier.tasks._rendering import Refused, rendering
from tests.templates import FORMATS

TURNS = [{"role": "user", "content": "hi\nthere"}, {"role": "assistant", "content": "h\u00e9\u2028 \U0001f98c"}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ENDS = [(2, False), (1, True), (2, False)]
ENDLESS = {
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "memory": "{% set ns = namespace(x='x' * 99999) %}{% for i in range(30) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_foreign_template_writes_the_same_in_its_child(name: str) -> None:
    told = []
    for foreign in (True, False):
        with rendering(FORMATS[name].template, TOKENS, foreign=foreign) as render:
            told.append([render(TURNS, [], ENDS), render(TURNS, None, ENDS)])
    assert told[0] == told[1]
    assert TURNS[1]["content"] in told[0][0][0]


@pytest.mark.parametrize("endless", ENDLESS)
def test_a_template_without_end_is_stopped(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rendering, "SECONDS", 1)
    with (
        pytest.raises(ModelError, match=r"was stopped; say task\.template=plain"),
        rendering(ENDLESS[endless], TOKENS, foreign=True) as render,
    ):
        render(TURNS, None, ENDS)


@pytest.mark.parametrize("foreign", [True, False])
@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ raise_exception('no system turn') }}", "no system turn"),
        ("{{ messages[0]['content'].__class__.__mro__ }}", "unsafe"),
        ("{{ 1 // 0 }}", "division"),
        ("{% for %}", "Expected"),
    ],
)
def test_what_goes_wrong_in_a_template_is_told(template: str, told: str, foreign: bool) -> None:
    with rendering(template, TOKENS, foreign=foreign) as render:
        for _ in range(2):
            with pytest.raises(Refused, match=told):
                render(json.loads(json.dumps(TURNS)), None, ENDS)
