"""A page in a real browser, headless Chromium: what it complains of, what does not fit, what is drawn.

`chromium` is Debian's package; where there is no browser, tests that need one are skipped, but for in CI.
"""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FRAME = """<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>"""
WATCHED = """<!doctype html>{frames}<pre id="seen"></pre><script>
function look(frame) {{
  var inner = frame.contentDocument, root = inner.documentElement, wide = [];
  inner.querySelectorAll("p, h1, h2, h3, figure, svg, dl, ul, pre").forEach(function (each) {{
    if (!each.closest(".scroll") && each.getBoundingClientRect().right > root.clientWidth + 1)
      wide.push(each.tagName + ": " + each.textContent.slice(0, 40));
  }});
  var plots = Array.from(inner.querySelectorAll("svg")).map(function (svg) {{
    var box = svg.viewBox.baseVal, out = [];
    svg.querySelectorAll("text, circle, polyline").forEach(function (each) {{
      var own = each.getBBox();
      if (own.x < -1 || own.y < -1 || own.x + own.width > box.width + 1 || own.y + own.height > box.height + 1)
        out.push(each.tagName + ": " + each.textContent);
    }});
    return {{title: svg.querySelector("title").textContent, out: out,
             marks: svg.querySelectorAll("circle, polyline").length}};
  }});
  return {{wide: wide, scrolls: root.scrollWidth - root.clientWidth, plots: plots,
           paper: inner.defaultView.getComputedStyle(inner.body).backgroundColor}};
}}
window.addEventListener("load", function () {{
  var frames = Array.from(document.querySelectorAll("iframe"));
  document.getElementById("seen").textContent = JSON.stringify(frames.map(look));
}});
</script>"""


@dataclass(frozen=True)
class Seen:
    """A page as the browser laid it out."""

    errors: list[str]
    wide: list[str]
    """What reaches beyond the right edge."""
    scrolls: int
    """Pixels that the page could be moved sideways."""
    plots: list[dict[str, Any]]
    """Of each drawing its title, the number of its marks, and what lies outside of its frame."""
    paper: str
    """The colour of the page."""


def look(page: str, folder: Path, *, widths: Sequence[int] = (1100,), dark: bool = False) -> list[Seen]:
    """The page in windows of so many pixels; complaints are those of all of them."""
    frames = "".join(FRAME.format(width=width, page=html.escape(page)) for width in widths)
    path = folder / "framed.html"
    path.write_text(WATCHED.format(frames=frames), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [browser(), *options, scheme, f"--user-data-dir={folder / 'browser'}", "--window-size=1400,1000"]
    done = subprocess.run([*command, f"file://{path}"], capture_output=True, text=True, check=True)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    assert found[1], f"the page did not load: {errors}"
    return [Seen(errors, **seen) for seen in json.loads(html.unescape(found[1]))]


def browser() -> str:
    """The browser's program; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        assert not os.environ.get("CI"), "CI needs a browser: apt-get install chromium"
        pytest.skip("no Chromium here: apt-get install chromium")
    return found
