"""What the pages say can be typed: every command in them is one, with its options; every link leads somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from scripts import reference_pages
from tinynas.cli import build_app

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "scripts").glob("*.sh")),
]  # fmt: skip
PAGES = [page for page in PAGES if "reference" not in page.parts]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMAND = re.compile(r"(?:^(?: {4}|\$ )|`)(tinynas [^`\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def shell_lines(text: str) -> Iterator[str]:
    """Commands on indented lines and between backquotes, continued lines joined."""
    for found in COMMAND.finditer(text.replace("\\\n", " ")):
        yield found.group(1).split(" #")[0].split(" && ")[0].strip().rstrip(".,;:")


def find_command(app: Any, words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words after its name."""
    command = app
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(build_app())


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_is_one(page: Path, app: Any) -> None:
    for line in shell_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line.replace("...", " ").replace("|", " "), comments=True)[1:]
        command, rest = find_command(app, words)
        if command is app and words:
            assert words[0].startswith("-") or not words[0].islower(), f"{page}: {line}: no command {words[0]}"
            continue
        known = {"-h", "--help"} | {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in rest:
            if word.startswith("-") and not re.fullmatch(r"-?[\d.]+", word) and word != "-":
                assert word.split("=")[0].rstrip(")") in known, f"{page}: {line}: no option {word}"


def test_a_wrong_option_would_be_seen(app: Any) -> None:
    line = next(shell_lines("    tinynas search --budget 3ms --devise t4   # quick\n"))
    command, rest = find_command(app, shlex.split(line)[1:])
    assert rest == ["--budget", "3ms", "--devise", "t4"]
    assert "--devise" not in {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.suffix == ".md"], ids=[n for n in NAMES if n[-3:] == ".md"]
)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, heading in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("reference/"):
            continue  # written from the code when the site is built, and Sphinx checks links to it
        file = page.parent / target if target else page
        assert file.exists(), f"{page}: {target}"
        assert not heading or heading in anchors(file), f"{page}: {target}#{heading}: no such heading"


def anchors(page: Path) -> set[str]:
    """What a link can name in a page: its headings as GitHub and the site write them in an address."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_heading_is_an_anchor(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `auto` at 320 px, beside YOLOv8n\n\ntext # no heading\n\n## Two parts\n")
    assert anchors(page) == {"auto-at-320-px-beside-yolov8n", "two-parts"}


def test_every_page_is_in_the_site() -> None:
    listed = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").split()
    for page in PAGES:
        if page.parent == ROOT / "docs" and page.name != "index.md":
            assert page.stem in listed, f"{page.name} is in no list of docs/index.md"


def test_every_benchmark_is_listed() -> None:
    listed = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    scripts = [path.name for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_")]
    assert [name for name in scripts if f"`{name}`" not in listed] == []


def test_the_reference_is_written_from_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reference_pages.py", str(tmp_path)])
    reference_pages.main()
    commands, settings, interface = ((tmp_path / f"{name}.md").read_text() for name in ("commands", "settings", "api"))
    assert "## tinynas search\n" in commands
    assert "| `optimizer.momentum` | `0.9` |" in settings
    assert "### Detector\n" in interface
    assert "| `--seed` | `0` |" in commands  # a default that is false is one all the same
    bare = re.sub(r"`[^`\n]*`", "", commands)
    assert "--" not in bare.replace("| --- ", "").replace("---", "")  # the site would show a dash
    assert [line for line in settings.splitlines() if line.endswith("|  |")] == []  # a setting without a description


def test_the_version_is_said_once() -> None:
    version = re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert cited is not None
    assert version.group(1) == cited.group(1)
