"""Logs for machines: one JSON object a line on stderr, or readable text on a terminal; counted, bounded, and without secrets.

Messages are fixed sentences; everything that varies is a field: `log.info("tally appended", partition=3, rows=120)`. Events, keys and other
payloads are not logged at INFO or above. A bytes value always shows as its length.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TextIO

import orjson
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.logs.flood_filter import FloodFilter
from taximeter_emitter.logs.message_limiter import MessageLimiter

from metering.configuration.secrets import Redactor

VALUE_CHARS_MAX: Final = 2_000
TRACE_CHARS_MAX: Final = 16_000

_FIELDS: Final = "taximeter_fields"
# They report each connection and request, and while a server is away each attempt; the metrics have what matters of that.
_CHATTY: Final = ("aiokafka", "aiohttp.access", "stripe", "asyncio")


@dataclass(frozen=True, slots=True)
class Log:
    """A logger with bound fields. The fields of a message prevail over bound ones."""

    logger: logging.Logger
    bound: dict[str, Any]

    def bind(self, **fields: Any) -> Self:
        """A log that adds these fields to every message."""
        return type(self)(self.logger, {**self.bound, **fields})

    def debug(self, message: str, **fields: Any) -> None:
        """For a developer; off by default."""
        self._write(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """For an operator on a normal day: few lines."""
        self._write(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """Expected trouble that heals by itself."""
        self._write(logging.WARNING, message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Somebody has to look."""
        self._write(logging.ERROR, message, fields)

    def failed(self, message: str, error: BaseException, **fields: Any) -> None:
        """Somebody has to look, with the stack trace of `error`."""
        self._write(logging.ERROR, message, fields, error)

    def _write(self, level: int, message: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
        if self.logger.isEnabledFor(level):
            self.logger.log(level, message, exc_info=error, extra={_FIELDS: {**self.bound, **fields}})


def get_log(name: str, **bound: Any) -> Log:
    """The log of one part of the program; `name` is dotted, such as `aggregator.flush`."""
    return Log(logging.getLogger(name), bound)


class RateLimited(MessageLimiter):
    """Writes one warning per key and interval, so that a loop of failures cannot drown the log."""

    def warning(self, log: Log, message: str, *, key: str = "", **fields: Any) -> None:
        """Warn unless the same key (by default the message) did so within the interval; `left_out` says how many were silent since."""
        left_out = self.admit(key or message)
        if left_out is not None:
            log.warning(message, left_out=left_out, **fields)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; every text is bounded and redacted."""

    def __init__(self, redactor: Redactor, *, service: str) -> None:
        super().__init__()
        self._redactor = redactor
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": self._text(record.getMessage()),
        }
        for name, value in getattr(record, _FIELDS, {}).items():
            line[f"field_{name}" if name in line else name] = self._value(value)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = self._text(_trace(record.exc_info[1]), TRACE_CHARS_MAX)
        return orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode()

    def _value(self, value: object) -> object:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            # orjson takes 64 bits; a larger number is rare, and becomes text.
            return value if -(2**63) <= value < 2**63 else str(value)
        return self._text(_words(value))

    def _text(self, text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
        # Redacted before it is cut, so that no half of a secret remains.
        return _bounded(self._redactor.redact(text).encode("utf-8", "replace").decode(), chars_max)


class TextFormatter(logging.Formatter):
    """A line for a person: time of day, level, logger, message, fields; bounded and redacted as in JSON."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line, followed by the stack trace if there is one."""
        text = f"{_time(record):%H:%M:%S} {record.levelname:<7} {record.name}: {self._text(record.getMessage())}"
        text += "".join(f"  {name}={self._text(_words(value))}" for name, value in getattr(record, _FIELDS, {}).items())
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + self._text(_trace(record.exc_info[1]), TRACE_CHARS_MAX)
        return text

    def _text(self, text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
        return _bounded(self._redactor.redact(text), chars_max)


class _CountingHandler(logging.StreamHandler[TextIO]):
    """Writes lines and counts them by level."""

    def __init__(self, stream: TextIO, count: Callable[[str], None]) -> None:
        super().__init__(stream)
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        self._count(record.levelname.lower())
        super().emit(record)


@contextmanager
def logging_to(
    stream: TextIO | None = None, *, service: str, level: str, style: str, redactor: Redactor, count: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Send all logs of the process to `stream` (default stderr) while the context lasts, then restore the handlers.

    `level` is debug, info, warning or error; `style` is json, text, or auto (text on a terminal). `count` gets each message's level.
    What libraries repeat is limited, so that the lines that tell how an outage began outlive it in a log of bounded size.
    Writing blocks while the reader of stderr does.
    """
    target = stream if stream is not None else sys.stderr
    readable = style == "text" or (style == "auto" and target.isatty())
    handler = _CountingHandler(target, count)
    handler.addFilter(FloodFilter(SystemClock(), _is_chatty))
    handler.setFormatter(TextFormatter(redactor) if readable else JsonFormatter(redactor, service=service))
    root = logging.getLogger()
    before, level_before = root.handlers[:], root.level
    chatty_before = {name: logging.getLogger(name).level for name in _CHATTY}
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        handler.flush()
        root.handlers[:] = before
        root.setLevel(level_before)
        for name, old in chatty_before.items():
            logging.getLogger(name).setLevel(old)


@contextmanager
def repeated_lines_left_out() -> Iterator[None]:
    """For a command, which has no handler: while the context lasts, what libraries say again and again is limited as in services."""
    handler, flood_filter = logging.lastResort, FloodFilter(SystemClock(), _is_chatty)
    if handler is not None:
        handler.addFilter(flood_filter)
    try:
        yield
    finally:
        if handler is not None:
            handler.removeFilter(flood_filter)


def _is_chatty(record: logging.LogRecord) -> bool:
    return any(record.name == name or record.name.startswith(f"{name}.") for name in _CHATTY)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _bounded(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[:chars_max]}... ({len(text)} characters)"


def _words(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return str(value)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
