"""What a library repeats while its server is away is a few lines, then one a minute that says how many were left out."""

import logging
import threading

import pytest
from taximeter_emitter.logs.flood_filter import FIRST_LINES, FLOOD_SECONDS, FloodFilter
from taximeter_emitter.transports.client_logs import LOGGERS, limit_client_logs

from tests.support.manual_clock import ManualClock


def record(line: int, text: str = "cannot connect to %s", argument: object = "node 1", name: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "/site-packages/aiokafka/client.py", line, text, (argument,), None)


def test_the_first_lines_pass_and_then_one_a_minute_that_counts_the_others() -> None:
    clock = ManualClock()
    flood_filter = FloodFilter(clock, lambda _: True)
    passed = []
    for second in range(600):
        for line in (1, 2):
            found = record(line, argument=f"node {second}")
            if flood_filter.filter(found):
                passed.append((line, found.getMessage()))
        clock.advance(1.0)
    first = [text for line, text in passed if line == 1]
    assert first[:FIRST_LINES] == [f"cannot connect to node {second}" for second in range(FIRST_LINES)]
    assert len(first) == FIRST_LINES + 9
    assert first[FIRST_LINES] == f"cannot connect to node 60 ({60 - FIRST_LINES} such lines were left out)"
    assert first[-1] == "cannot connect to node 540 (59 such lines were left out)"
    assert len(passed) == 2 * len(first)


def test_every_line_is_passed_or_counted() -> None:
    clock = ManualClock()
    flood_filter = FloodFilter(clock, lambda _: True)
    passed = left_out = 0
    for _ in range(1_000):
        found = record(1)
        if flood_filter.filter(found):
            passed += 1
            _, _, said = found.getMessage().partition("(")
            left_out += int(said.split()[0]) if said else 0
        clock.advance(0.7)
    clock.advance(FLOOD_SECONDS)
    last = record(1)
    assert flood_filter.filter(last)
    left_out += int(last.getMessage().partition("(")[2].split()[0])
    assert passed + left_out == 1_000


def test_a_place_that_was_quiet_may_tell_its_beginning_again() -> None:
    clock = ManualClock()
    flood_filter = FloodFilter(clock, lambda _: True)
    for _ in range(2):
        assert all(flood_filter.filter(record(1)) for _ in range(FIRST_LINES))
        clock.advance(2 * FLOOD_SECONDS)


def test_what_is_not_limited_passes_untouched() -> None:
    flood_filter = FloodFilter(ManualClock(), lambda found: found.name.startswith("aiokafka"))
    for _ in range(100):
        found = record(1, name="host")
        assert flood_filter.filter(found)
        assert found.getMessage() == "cannot connect to node 1"


def test_only_the_clients_of_an_emitter_are_limited_and_the_hosts_logging_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.handlers[:], logger.propagate, logger.disabled) for logger in loggers]

    def emitters_thread() -> None:
        limit_client_logs()
        for number in range(100):
            for logger in loggers:
                logger.error("cannot connect, attempt %s", number)

    thread = threading.Thread(target=emitters_thread)
    thread.start()
    thread.join()
    assert len(caplog.records) <= FIRST_LINES
    caplog.clear()
    for number in range(100):
        for logger in loggers:
            logger.error("cannot connect, attempt %s", number)
    assert len(caplog.records) == 100 * len(loggers)
    assert [(logger.level, logger.handlers[:], logger.propagate, logger.disabled) for logger in loggers] == before
