"""Nothing is written that nobody answers for, and nobody is asked who cannot answer."""

import argparse
import io
import sys

import pytest

from taximeter.before_writing import agreed, asking_problems, author, told, writing_problems


def given(**changed: object) -> argparse.Namespace:
    return argparse.Namespace(**{"reason": "why", "by": "ana", "yes": True, "json": False, **changed})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({"reason": None}, ["--reason must be 1 to 500 characters; --plan shows what would be done without it"]),
        ({"reason": "x" * 501}, ["--reason must be 1 to 500 characters; --plan shows what would be done without it"]),
        ({"by": "y" * 101}, ["--by must be 1 to 100 characters; --plan shows what would be done without it"]),
        ({"yes": False}, ["nobody can be asked here: add --yes, or --plan"]),
    ],
)
def test_what_is_written_needs_a_reason_an_author_and_an_answer(
    changed: dict[str, object], problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert writing_problems(given(**changed), instead="--plan") == problems


def test_a_person_at_a_terminal_can_be_asked_but_not_with_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert asking_problems(given(yes=False)) == []
    assert asking_problems(given(yes=False, json=True)) == ["nobody can be asked here: add --yes"]


@pytest.mark.parametrize(("answer", "is_yes"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_only_a_yes_is_a_yes(answer: str, *, is_yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert agreed() is is_yes


def test_without_by_the_account_of_this_machine_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ana")
    assert author(given(by=None)) == "ana"


def test_problems_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["one", "two"])
    assert capsys.readouterr().err == "taximeter: one\ntaximeter: two\n"
    assert not told([])
