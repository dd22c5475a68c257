import asyncio
import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from taximeter_emitter.logs.flood_filter import FloodFilter
from taximeter_emitter.logs.message_limiter import KEYS_MAX

from metering.configuration.secrets import MASK, Redactor, Secret
from metering.process.logs import RateLimited, get_log, logging_to, repeated_lines_left_out
from tests.support.deploy_files import own_services
from tests.support.manual_clock import ManualClock


class Captured:
    """What was written, as text and as parsed lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.levels: Counter[str] = Counter()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@contextmanager
def captured(style: str = "json", level: str = "info", *secrets: Secret) -> Iterator[Captured]:
    out = Captured()
    count = out.levels.update

    with logging_to(out.stream, service="ingest", level=level, style=style, redactor=Redactor(secrets), count=lambda name: count([name])):
        yield out


def test_a_message_is_one_json_line_with_its_fields() -> None:
    with captured() as out:
        log = get_log("ingest.publishing.publisher", partition=3).bind(group="g")
        log.info("published", rows=10, wait=0.5, ok=True, last=None, group="h")
    (line,) = out.lines
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "service": "ingest",
        "logger": "ingest.publishing.publisher",
        "message": "published",
        "partition": 3,
        "group": "h",
        "rows": 10,
        "wait": 0.5,
        "ok": True,
        "last": None,
    }


def test_levels_are_filtered_and_counted() -> None:
    with captured() as out:
        log = get_log("x")
        log.debug("hidden")
        log.info("a")
        log.warning("b")
        log.warning("c")
        log.error("d")
    assert out.levels == {"info": 1, "warning": 2, "error": 1}
    assert len(out.lines) == 4


@pytest.mark.parametrize("style", ["json", "text"])
def test_secrets_and_payloads_are_kept_out_of_messages_fields_and_traces(style: str) -> None:
    with captured(style, "info", Secret('pl"anted')) as out:
        log = get_log("x")
        log.info('message pl"anted', field='pl"anted', raw=b"contents", secret=Secret("hushhush"), key="sk_test_abc123")
        try:
            raise ValueError('trace pl"anted and whsec_zzz999')
        except ValueError as error:
            log.failed("it failed", error)
        logging.getLogger("library").warning("other %s", 'pl"anted')
    for hidden in ('pl"anted', 'pl\\"anted', "contents", "hushhush", "abc123", "zzz999"):
        assert hidden not in out.text
    assert "<8 bytes>" in out.text
    assert out.text.count(MASK) >= 5
    assert "ValueError" in out.text


def test_a_secret_at_the_cut_leaves_no_half() -> None:
    with captured("json", "info", Secret("planted-secret")) as out:
        get_log("x").info("long", value="x" * 1995 + "planted-secret" + "y" * 100)
    assert "plant" not in out.text


def test_any_value_fits_on_a_line() -> None:
    with captured() as out:
        get_log("x").info("odd", big=10**30, text="a\nb\ud800", many=[1, 2], long="z" * 10_000, message2="m", level="mine")
    (line,) = out.lines
    assert line["big"] == str(10**30)
    assert line["many"] == "[1, 2]"
    assert line["long"].endswith("... (10000 characters)")
    assert line["level"] == "info"
    assert line["field_level"] == "mine"


def test_text_for_a_terminal_is_readable() -> None:
    with captured("text") as out:
        get_log("aggregator").info("tally appended", partition=3)
    assert out.text.endswith("INFO    aggregator: tally appended  partition=3\n")


def test_auto_writes_json_when_nobody_watches() -> None:
    with captured("auto") as out:
        get_log("x").info("a")
    assert out.lines[0]["message"] == "a"


def test_what_was_configured_before_is_put_back() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("aiokafka").level)
    with captured(level="error"):
        assert logging.getLogger("aiokafka").level == logging.ERROR
    assert (root.handlers[:], root.level, logging.getLogger("aiokafka").level) == before


def test_python_warnings_become_log_lines() -> None:
    with captured() as out, warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("something is off", stacklevel=1)
    assert "something is off" in out.lines[0]["message"]


def test_repeated_warnings_are_let_through_once_an_interval_and_counted() -> None:
    clock = ManualClock()
    limited = RateLimited(clock, interval_seconds=10)
    with captured() as out:
        log = get_log("x")
        for _ in range(5):
            limited.warning(log, "broker is away", broker=1)
        limited.warning(log, "broker is away", key="other", broker=2)
        clock.advance(10)
        limited.warning(log, "broker is away", broker=1)
    assert [(line["broker"], line["left_out"]) for line in out.lines] == [(1, 0), (2, 0), (1, 4)]


def test_the_rate_limiter_remembers_a_bounded_number_of_keys() -> None:
    limited = RateLimited(ManualClock())
    for number in range(KEYS_MAX + 1):
        assert limited.admit(str(number)) == 0
    assert limited.admit(str(KEYS_MAX)) is None
    assert limited.admit("0") == 0


async def test_asyncio_complaints_are_logged() -> None:
    with captured() as out:
        asyncio.get_running_loop().call_exception_handler({"message": "something was never retrieved"})
    assert out.lines[0]["level"] == "error"


def test_what_a_library_repeats_is_a_few_lines_and_what_we_say_is_not_touched() -> None:
    with captured() as out:
        for number in range(500):
            logging.getLogger("aiokafka.conn").warning("no node answers, attempt %d", number)
        for _ in range(20):
            get_log("aggregator.app").warning("Kafka is away")
    names = Counter(line["logger"] for line in out.lines)
    assert names == {"aiokafka.conn": 5, "aggregator.app": 20}
    assert out.lines[0]["message"] == "no node answers, attempt 0"
    assert out.levels["warning"] == 25


def test_a_command_tells_a_few_of_the_lines_that_libraries_repeat(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("aiokafka.conn")
    handlers, root = logging.getLogger().handlers, logging.getLogger()
    root.handlers = []  # as in a command; pytest has some
    try:
        with repeated_lines_left_out():
            for number in range(50):
                logger.error("Unable to connect %s", number)
                logging.getLogger("own").warning("told %s", number)
        said = capfd.readouterr().err
        logger.error("after it")
    finally:
        root.handlers = handlers
    assert 0 < said.count("Unable to connect") < 10
    assert said.count("told") == 50
    assert "after it" in capfd.readouterr().err


def test_a_day_without_kafka_fits_into_the_log_limits_that_are_shipped() -> None:
    """Twice what was seen on real processes: four warnings of ours, ten places of the client library, 300 bytes a line."""
    clock, day_s, ours, places, line_bytes = ManualClock(), 86_400, 8, 20, 350
    flood, warnings, out = FloodFilter(clock, lambda _: True), RateLimited(clock), CountedLog()
    lines = 0
    for _ in range(0, day_s, 10):
        clock.advance(10)
        for line in range(places):
            lines += flood.filter(logging.LogRecord("aiokafka", logging.WARNING, "client.py", line, "away", (), None))
        for key in range(ours):
            warnings.warning(out, "Kafka is away", key=str(key))  # type: ignore[arg-type]
    for service in own_services().values():
        kept = service["logging"]["options"]
        assert kept["max-size"].endswith("m")
        assert (lines + out.lines) * line_bytes < int(kept["max-size"][:-1]) * 1024 * 1024 * int(kept["max-file"])


class CountedLog:
    def __init__(self) -> None:
        self.lines = 0

    def warning(self, _message: str, **_fields: object) -> None:
        self.lines += 1
