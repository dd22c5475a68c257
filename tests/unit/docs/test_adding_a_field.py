"""docs/adding-a-field.md lists every module that knows of an event's `dimensions`, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.repository import ROOT

PAGE: Final = (ROOT / "docs/adding-a-field.md").read_text()
FIELD: Final = "dimensions"
NO_PRODUCT: Final = {"tests", "benchmarks", "sandbox", "examples", "docs", "deploy", "build", "dist"}


def product_modules() -> Iterator[Path]:
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in NO_PRODUCT:
            yield from folder.rglob("*.py")
    yield from (ROOT / "sandbox/taximeter_sandbox/demo").rglob("*.py")


def mentions(module: Path) -> bool:
    """Whether the code, not its comments and docstrings, has the field as a name or as a text."""
    code = module.read_text()
    if FIELD not in code:
        return False
    tree = ast.parse(code)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return any(FIELD in _names(node) for node in ast.walk(tree) if id(node) not in texts)


def _names(node: ast.AST) -> set[object]:
    return {getattr(node, name, None) for name in ("id", "attr", "arg", "value") if isinstance(getattr(node, name, None), str)}


def test_the_tables_are_the_modules_that_mention_the_field() -> None:
    listed = re.findall(r"^\| \[([^]]+)\]\(\.\./([^)]+)\)", PAGE, re.MULTILINE)
    assert all(text == link for text, link in listed)
    found = {str(module.relative_to(ROOT)) for module in product_modules() if mentions(module)}
    assert sorted(link for _, link in listed) == sorted(found)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


def test_the_names_that_it_tells_to_change_are_in_its_modules() -> None:
    for link, text in re.findall(r"^\| \[[^]]+\]\(\.\./([^)]+)\) \| (.*) \|$", PAGE, re.MULTILINE):
        code = (ROOT / link).read_text()
        for name in re.findall(r"`(\w+)`", text):
            assert re.search(rf"\b{name}\b", code), f"{link} has no {name}"
