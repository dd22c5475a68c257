"""One word for one thing, one thing for one word; and the shape of the house: small folders, small constructors, no circles of imports."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = {
    "metering": ROOT,
    "ingest": ROOT,
    "aggregator": ROOT,
    "reporter": ROOT,
    "billing": ROOT,
    "audit": ROOT,
    "console": ROOT,
    "taximeter": ROOT,
    "taximeter_emitter": ROOT / "emitter",
}
SANDBOX = {"taximeter_sandbox": ROOT / "sandbox"}  # it has words of its own: Kafka's and Stripe's
MODULES_MAX = 14  # in a folder
PARAMETERS_MAX = 8  # of a constructor

ONE_MEANING_EVERYWHERE = {
    "__init__": "what a folder is for, and in which order to read it",
    "__main__": "how a process is started",
    "app": "the wiring of a process",
    "metrics": "what is exported, and how metrics are declared",
    "settings": "what can be configured, and how settings are read",
    "takeover": "how a partition's state is rebuilt from the log",
    "worker": "one owned partition at run time",
}
# A module is named as the command is typed: `taximeter topics`.
OTHER_COMMANDS = (
    "customer_commands",
    "dead_letter_commands",
    "mapping_commands",
    "meter_commands",
    "reconcile_command",
    "refusal_commands",
    "replay_commands",
    "trace_commands",
)
COMMANDS = tuple(f"taximeter/{folder}" for folder in ("commands", "stripe_commands", *OTHER_COMMANDS))
PUBLIC_OPTIONS = {"Emitter"}  # users construct it with keywords, which its documentation groups
# Beside the names, in a line that says what to read.
READING_WORDS = {"a", "an", "and", "event", "for", "how", "in", "is", "much", "order"}
READING_WORDS |= {"passes", "quickly", "read", "request", "the", "then", "which"}


def sources(*packages: str) -> Iterator[tuple[str, Path]]:
    """Module names and files."""
    for package in packages or tuple(SOURCES):
        root = (SOURCES | SANDBOX)[package]
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).with_suffix("")
            yield ".".join(name.parts).removesuffix(".__init__"), path


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def repeated(places: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1}


def assigned(statement: ast.stmt) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AnnAssign) else []
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id


def test_no_class_name_means_two_things() -> None:
    places = defaultdict(list)
    for _, path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(shown(path))
    assert not repeated(places)


def test_no_public_constant_or_type_is_defined_in_two_places() -> None:
    places = defaultdict(list)
    for _, path in sources():
        for statement in parsed(path).body:
            names = [statement.name] if isinstance(statement, ast.ClassDef) else list(assigned(statement))
            for name in names:
                # A single letter is a type variable: it means nothing outside of its signature.
                if len(name) > 1 and not name.startswith("_"):
                    places[name].append(shown(path))
    assert not repeated(places)


def test_no_module_name_means_two_things() -> None:
    places = defaultdict(list)
    for _, path in sources():
        if path.stem not in ONE_MEANING_EVERYWHERE and not shown(path).startswith(COMMANDS):
            places[path.stem].append(shown(path))
    assert not repeated(places)


def test_a_folder_has_few_modules() -> None:
    modules = defaultdict(list)
    for _, path in sources(*SOURCES, *SANDBOX):
        modules[shown(path.parent)].append(path.name)
    assert not {folder: len(names) for folder, names in modules.items() if len(names) > MODULES_MAX}


def test_a_constructor_is_given_few_things() -> None:
    found = {}
    for _, path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and node.name not in PUBLIC_OPTIONS:
                found[f"{shown(path)} {node.name}"] = parameters(node)
    assert not {name: count for name, count in found.items() if count > PARAMETERS_MAX}


def parameters(node: ast.ClassDef) -> int:
    """How much a constructor must or may be given; nothing is counted of frozen records, and what has a default of those that change."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if any("dataclass" in decorator for decorator in decorators):
        frozen = any("frozen=True" in decorator for decorator in decorators)
        return 0 if frozen else sum(isinstance(item, ast.AnnAssign) and item.value is None for item in node.body)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = item.args
            return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs) - 1
    return 0


def test_no_module_imports_itself_in_a_circle() -> None:
    """Whatever runs when: imports for type checking alone are counted, too."""
    paths = dict(sources(*SOURCES, *SANDBOX))
    graph = {name: set(imported(parsed(path), paths)) - {name} for name, path in paths.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" > ".join(error.args[1])) from None


def imported(module: ast.Module, known: Iterable[str]) -> Iterator[str]:
    known = frozenset(known)
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


def test_what_a_package_says_to_read_is_there() -> None:
    absent = {}
    for _, path in sources():
        line = re.search(r"^Read\b(.*)", ast.get_docstring(parsed(path)) or "", re.DOTALL | re.MULTILINE) if path.name == "__init__.py" else None
        if line is not None:
            names = set(re.findall(r"[a-z_0-9]+", line[1])) - READING_WORDS
            folders = (path.parent, path.parent.parent)
            absent[shown(path)] = {name for name in names if not any((each / name).is_dir() or (each / f"{name}.py").is_file() for each in folders)}
    assert not {package: names for package, names in absent.items() if names}
