"""`taximeter doctor`: what is wrong, what waits, and what to type."""

import argparse
import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import orjson

from taximeter.doctor.diagnosis import diagnose, needs_a_person
from taximeter.doctor.doctor_facts import Facts
from taximeter.doctor.doctor_page import document, page
from taximeter.doctor.doctor_sources import gather_facts
from taximeter.exit_codes import DISCREPANCY, OK

PLAIN_WIDTH: Final = 80
WIDTH_MAX: Final = 120
WATCH_SECONDS: Final = 5.0
_CLEAR: Final = "\x1b[H\x1b[2J"


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 if something needs a person, 0 otherwise. With `--watch` it goes on until it is interrupted."""
    while True:
        with _lines_of_libraries_kept_off():
            facts = asyncio.run(gather_facts(arguments))
        _show(facts, arguments)
        if not arguments.watch:
            return DISCREPANCY if needs_a_person(diagnose(facts)) else OK
        time.sleep(WATCH_SECONDS)


@contextmanager
def _lines_of_libraries_kept_off() -> Iterator[None]:
    """What a client library logs would break into the page, or come before the JSON. The page itself says what does not answer, and why."""
    handler = logging.lastResort
    if handler is None:
        yield
        return
    before = handler.level
    handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        handler.setLevel(before)


def _show(facts: Facts, arguments: argparse.Namespace) -> None:
    if arguments.json:
        option = None if arguments.watch else orjson.OPT_INDENT_2
        print(orjson.dumps(document(facts, runbooks=arguments.runbooks), option=option).decode(), flush=True)
        return
    on_terminal = sys.stdout.isatty()
    width = min(WIDTH_MAX, shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns) if on_terminal else PLAIN_WIDTH
    text = "\n".join(page(facts, width=width, runbooks=arguments.runbooks))
    print(f"{_CLEAR if arguments.watch and on_terminal else ''}{text}", flush=True)
