"""Every relative link of the pages leads somewhere, and every module, function and file that they name exists."""

import ast
import importlib.util
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MODULE = re.compile(r"[a-z_]+(?:\.\w+)+")
FILE_KINDS = {"md", "toml", "yml", "json", "svg", "txt", "py"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub makes them of headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def links(page: Path) -> list[tuple[str, str]]:
    """The text and the target of each link that does not leave the repository."""
    found = [(text, target or image) for text, target, image in LINK.findall(prose(page))]
    return [(text, target) for text, target in found if not re.match(r"[a-z]+:", target)]


@cache
def names_in(module: Path) -> frozenset[str]:
    """Classes, functions and constants that a file defines, those of classes with the class before them."""
    names = set()

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                names.add(prefix + node.name)
                look(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(prefix + node.name)
            elif isinstance(node, ast.Assign):
                names.update(prefix + target.id for target in node.targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(prefix + node.target.id)

    look(ast.parse(module.read_text()).body, "")
    return frozenset(names)


@each_page
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for _, target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@each_page
def test_a_link_that_is_named_for_code_leads_to_the_file_that_defines_it(page: Path) -> None:
    for text, target in links(page):
        if target.endswith(".py") and re.fullmatch(r"`[A-Za-z_.]+`", text):
            assert text.strip("`") in names_in((page.parent / target).resolve()), f"{text} is not in {target}"


@each_page
def test_modules_that_are_named_exist(page: Path) -> None:
    named = {name for text in re.findall(r"`([^`\n]+)`", prose(page)) for name in re.findall(r"python -m ([a-z_.]+)", text) or [text]}
    for name in sorted(name for name in named if MODULE.fullmatch(name)):
        package, _, rest = name.partition(".")
        if is_package(package) and rest.rpartition(".")[2] not in FILE_KINDS:
            assert is_defined(name), name


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    for text in re.findall(r"`([^`\s]+)`", prose(page)):
        if "/" not in text and text.endswith(".py"):
            assert any(ROOT.glob(f"[a-z]*/**/{text}")), text
        elif re.fullmatch(r"[a-z_]+/[\w./*-]+", text) and (ROOT / text.partition("/")[0]).is_dir():
            assert any(ROOT.glob(text)), text


def is_package(name: str) -> bool:
    """Whether it is a package of this repository."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None and Path(found.origin).is_relative_to(ROOT) and ".venv" not in found.origin


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module defines."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            spec = importlib.util.find_spec(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        if spec is not None and spec.origin is not None:
            return length == len(parts) or ".".join(parts[length:]) in names_in(Path(spec.origin))
    return False


def test_headings_become_anchors_as_github_makes_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` & [c](d.md)\n\n## 10. Listen for webhooks\n\n```\n# no heading\n```\n\n## Same\n\n## Same\n")
    assert anchors(page) == {"a-b--c", "10-listen-for-webhooks", "same", "same-1"}


def test_a_wrong_link_a_wrong_name_and_a_wrong_module_are_noticed(tmp_path: Path) -> None:
    page, code = tmp_path / "page.md", tmp_path / "code.py"
    page.write_text("[`Thing.gone`](code.py) and [lost](lost.md)\n")
    code.write_text("class Thing:\n    def there(self) -> None: ...\n")
    with pytest.raises(AssertionError, match="lost"):
        test_relative_links_lead_to_a_file_and_a_heading(page)
    with pytest.raises(AssertionError, match="gone"):
        test_a_link_that_is_named_for_code_leads_to_the_file_that_defines_it(page)
    assert names_in(code) == {"Thing", "Thing.there"}
    assert is_defined("metering.records.chain.Chain.offer")
    assert not is_defined("metering.records.gone")
    assert not is_defined("metering.records.chain.Gone")
