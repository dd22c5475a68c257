"""The table of commands: it agrees with the commands, and reading it imports none of them."""

import argparse
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.metadata import version

import pytest

from taximeter import cli
from taximeter.command import SANDBOX, Command, CommandGroup, resolve
from taximeter.command_table import COMMANDS
from taximeter.exit_codes import OK, PRECONDITION, USAGE

HEAVY = ("numpy", "aiohttp", "stripe", "aiokafka", "rich", "asyncio", "orjson", "prometheus_client", "shtab")
PACKAGES_OF_SANDBOX = [SANDBOX[:end] for end in [*(at for at, letter in enumerate(SANDBOX) if letter == "."), len(SANDBOX)]]


def walk(commands: Iterable[Command | CommandGroup], path: str = "taximeter") -> Iterator[tuple[str, Command | CommandGroup]]:
    for command in commands:
        yield f"{path} {command.name}", command
        if isinstance(command, CommandGroup):
            yield from walk(command.commands, f"{path} {command.name}")


ALL = [pytest.param(path, command, id=path) for path, command in walk(COMMANDS)]


@pytest.mark.parametrize(("path", "command"), [param for param in ALL if isinstance(param.values[1], Command)])
def test_a_summary_is_what_the_command_says_of_itself(path: str, command: Command) -> None:
    run = resolve(command.run)
    own = inspect.getdoc(run)
    if run.__name__ == "run":
        own = import_module(run.__module__).__doc__

    assert own is not None
    said = own.splitlines()[0]
    assert said in {f"`{path}`: {command.summary}.", f"{command.summary[0].upper()}{command.summary[1:]}."}


@pytest.mark.parametrize(("path", "command"), ALL)
def test_every_command_has_help_with_its_summary(path: str, command: Command | CommandGroup, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*path.split()[1:], "--help"])

    assert ended.value.code == OK
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: {path} " in shown
    assert command.summary[1:] in shown


def test_every_action_of_every_command_says_what_it_is() -> None:
    for parser in cli.parser().walk():
        assert all(action.help or isinstance(action.choices, dict) for action in parser.actions()), parser.prog


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["stripe", "--help"], ["status", "--help"], ["stripe", "usage", "--help"], ["demo", "--help"], ["no-such-command"]],
    ids=" ".join,
)
def test_what_only_tells_imports_nothing_heavy(arguments: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-X", "importtime", "-m", "taximeter", *arguments], capture_output=True, text=True, check=False)

    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "taximeter.command_table" in imported
    assert not imported & {*HEAVY, "taximeter.commands.status", f"{SANDBOX}.demo"}


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])

    assert ended.value.code == OK
    assert capsys.readouterr().out == f"taximeter {version('taximeter')}\n"


@pytest.mark.parametrize(
    ("arguments", "who", "said"),
    [
        (["statsu"], "taximeter", "there is no command 'statsu'; did you mean status?"),
        (["xyz"], "taximeter", "there is no command 'xyz' (commands: quickstart, demo,"),
        (["stripe", "cutsomer"], "taximeter stripe", "did you mean customer?"),
        (["stripe", "customer", "shwo"], "taximeter stripe customer", "did you mean show?"),
        (["status", "--jsno"], "taximeter status", "unrecognized arguments: --jsno; did you mean --json?"),
        (["stripe", "usage", "cus_1", "--metre=a"], "taximeter stripe usage", "did you mean --meter?"),
        (["status", "extra"], "taximeter status", "unrecognized arguments: extra\n"),
        (["completion", "csh"], "taximeter completion", "invalid choice: 'csh'"),
        ([], "taximeter", "required: COMMAND"),
        (["repair"], "taximeter repair", "required: COMMAND"),
    ],
)
def test_what_is_misspelt_is_an_error_that_names_what_comes_near(
    arguments: list[str], who: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    shown = capsys.readouterr().err
    assert ended.value.code == USAGE
    assert f"usage: {who} " in shown
    assert f"{who}: error: " in shown
    assert said in shown


@dataclass(frozen=True)
class Absent(MetaPathFinder):
    """Asked first by `import`: this package is not there."""

    package: str

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        if fullname == self.package:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package absent for a test."""

    def make(package: str) -> None:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])

    return make


@pytest.fixture(params=[package for package in PACKAGES_OF_SANDBOX if package != "taximeter"])
def no_sandbox(request: pytest.FixtureRequest, absent: Callable[[str], None]) -> None:
    """The package of the sandbox, or one that holds it, is not there."""
    absent(request.param)


@pytest.mark.usefixtures("no_sandbox")
@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--help"], ["demo", "--events", "5"], ["broker"], ["stripe", "demo-page", "--port", "0"]])
def test_a_command_of_the_sandbox_says_in_one_line_what_to_install(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == PRECONDITION
    assert capsys.readouterr().err == "taximeter: the sandbox is not installed: pip install taximeter-sandbox\n"


@pytest.mark.usefixtures("no_sandbox")
def test_commands_of_the_sandbox_are_listed_and_completed_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "run the whole pipeline under load" in capsys.readouterr().out

    assert cli.main(["completion", "bash"]) == OK
    assert "demo-page" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["aiohttp", f"{SANDBOX}.demo"])
def test_what_else_is_missing_is_not_taken_for_the_sandbox(missing: str, absent: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"{SANDBOX}.demo", raising=False)
    absent(missing)
    with pytest.raises(ModuleNotFoundError, match=missing):
        resolve(f"{SANDBOX}.demo:run")


def test_parsed_arguments_say_what_runs() -> None:
    assert cli.parser().parse_args(["topics", "check"]) == argparse.Namespace(run="taximeter.commands.topics:check", config=None)
