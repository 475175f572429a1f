"""What all reports share: one self-contained HTML page, its look, and what its charts are drawn with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

_HERE = "tinynas.results.page"


def render_page(
    package: str, template: str, script: str, content: Mapping[str, Any], *, sections: Sequence[str] = ()
) -> str:
    """The HTML of a page: `template` of `package` extends frame.html.j2, `script` of it follows the charts' own.

    sections: names of further pairs NAME.html.j2 and NAME.js of the package; the template includes, the script calls them.
    content: the template's variables; whatever comes from the user (names, paths, settings) is escaped. Style and
    script are inlined; nothing is fetched from anywhere.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    templates = {"frame.html.j2": _own(_HERE, "frame.html.j2"), template: _own(package, template)}
    templates |= {f"{name}.html.j2": _own(package, f"{name}.html.j2") for name in sections}
    environment = Environment(
        loader=DictLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    own = [f"{name}.js" for name in sections] + [script]
    scripts = _own(_HERE, "charts.js") + "".join(_own(package, name) for name in own)
    return environment.get_template(template).render(
        **content, style=Markup(_own(_HERE, "page.css")), script=Markup(scripts)
    )


def _own(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
