"""Pages, docstrings and comments are plain English: short sentences, and none of the phrases that do not read so."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.repository import ROOT

NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "deploy/**/*.md", "emitter/README.md")
PAGES = sorted(page for name in NAMES for page in ROOT.glob(name))
PACKAGES = ("metering", "ingest", "aggregator", "reporter", "billing", "audit", "console", "taximeter", "emitter", "sandbox", "tools")
MODULES = sorted(module for name in PACKAGES for module in (ROOT / name).rglob("*.py") if "build" not in module.relative_to(ROOT).parts)
WORDS_MEAN_MAX = 18
STILTED = re.compile(r"\b(stands? in|lies? in|(is|are|was|were) told|so many|anew|of ours|whoever|at the door)\b", re.IGNORECASE)
# What is quoted, and what is generated from measurements, is as it is.
LEFT_OUT = re.compile(r"^```.*?^```$|<!-- generated: planted bugs.*?<!-- /generated -->|<!--.*?-->|\"[^\"\n]*\"", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence, cell of a table and item of a list; headings and rules are left out."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|>]|\d+\.)\s)|\n(?=#)", LEFT_OUT.sub("", text)):
        joined = " ".join(block.split())
        if joined.startswith("#") or re.fullmatch(r"[| :-]*", joined):
            continue
        for part in joined.strip("|").split(" | ") if joined.startswith("|") else [joined]:
            found += [sentence.split() for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z`*\[(])", part)]
    return [words for words in found if len(words) > 3]


@each_page
def test_sentences_are_short(page: Path) -> None:
    lengths = [len(words) for words in sentences(page.read_text())]
    if lengths:
        assert sum(lengths) / len(lengths) < WORDS_MEAN_MAX


@each_page
def test_no_phrase_reads_translated(page: Path) -> None:
    found = STILTED.search(" ".join(LEFT_OUT.sub("", page.read_text()).split()))
    assert found is None, found


def test_settings_metrics_and_alerts_do_not_either() -> None:
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    assert STILTED.search(alerts) is None, STILTED.search(alerts)


def prose_of(module: Path) -> list[str]:
    """The docstrings of a module, and its comments; those on lines that follow each other are one."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, documented)]
    comments: dict[int, str] = {}  # by the line on which the comment ends
    with tokenize.open(module) as lines:
        for token in tokenize.generate_tokens(lines.readline):
            if token.type == tokenize.COMMENT:
                line = token.start[0]
                comments[line] = f"{comments.pop(line - 1, '')} {token.string.lstrip('#: ')}"
    return [" ".join(text.split()) for text in [*docstrings, *comments.values()]]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_or_comment_reads_translated(package: str) -> None:
    modules = [module for module in MODULES if module.is_relative_to(ROOT / package)]
    assert modules
    found = [f"{module.relative_to(ROOT)}: {text}" for module in modules for text in prose_of(module) if STILTED.search(LEFT_OUT.sub("", text))]
    assert not found, "\n".join(found)


def test_docstrings_and_comments_are_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""One."""\n\nx = "not this"  # two\n\n# three\n# four\n\n\nclass C:\n    """Five\n    six."""\n')
    assert [text for text in prose_of(module) if text] == ["One.", "Five six.", "two", "three four"]


def test_words_are_counted_by_sentence() -> None:
    text = "# A heading\n\nOne two three four. Five six seven eight nine.\n\n| a | b c d e f |\n| --- | --- |\n\n```\nnot counted at all here\n```\n"
    assert [len(words) for words in sentences(text)] == [4, 5, 5]
