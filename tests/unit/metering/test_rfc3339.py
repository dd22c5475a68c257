"""Times are read by the letter of RFC 3339, in every way in."""

import re
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_time, parse_times

from ingest.requests.bodies import JSON, BodyReader
from metering.records.meters import Catalogue, Meter

GRAMMAR = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])[Tt ]"
    r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)(?P<fraction>\.[0-9]+)?"
    r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zh>[01][0-9]|2[0-3]):(?P<zm>[0-5][0-9]))"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plainly(text: str) -> int | None:
    """The milliseconds of an RFC 3339 time, computed from its parts; None if it is not one, or before 1970."""
    found = GRAMMAR.fullmatch(text)
    if found is None or len(text) > 40:
        return None
    offset = timedelta()
    if found["sign"]:
        offset = timedelta(hours=int(found["zh"]), minutes=int(found["zm"])) * (1 if found["sign"] == "+" else -1)
    second = int(found["second"])
    try:
        year, month, day, hour, minute = (int(found[name]) for name in ("year", "month", "day", "hour", "minute"))
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
        since = moment - EPOCH
    except (ValueError, OverflowError):
        return None
    milliseconds = since // timedelta(milliseconds=1) + int(((found["fraction"] or ".0")[1:] + "00")[:3])
    if second == 60:
        if since.seconds != 86_399:
            return None
        milliseconds = since // timedelta(milliseconds=1) + 999
    return milliseconds if milliseconds >= 0 else None


def parsed(text: str) -> int | None:
    try:
        return parse_time(text, "time")
    except EventRejected:
        return None


digits = st.text("0123456789", min_size=1, max_size=7)
good = st.builds(
    "{}{}{}{}{}".format,
    st.dates(min_value=datetime(1971, 1, 1, tzinfo=UTC).date()).map(str),
    st.sampled_from("Tt "),
    st.times().map(lambda time: time.strftime("%H:%M:%S")) | st.sampled_from(["23:59:60", "15:59:60", "24:00:00", "23:59:61", "10:00"]),
    st.just("") | digits.map(lambda text: "." + text) | digits.map(lambda text: "," + text),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+01:00", "-08:00", "+23:59", "+24:00", "+01:60", "+01", "+0100", "+01:00:30", "", "UTC"]),
)
mangled = st.builds(
    lambda text, at, char: text[: at % len(text)] + char + text[at % len(text) + 1 :],
    good,
    st.integers(0, 60),
    st.sampled_from("0129-:TtZzW,.+ \u0661"),
)


@given(good | mangled | st.text("0123456789-:TZW., +", max_size=32))
@example("2026-W48-4T10:00:00Z")
@example("2026-W48-4T10:00:00.000Z")
@example("2026-11-22T10:00:00.Z")
@example("2026-11-22T10:00:00.+00:00")
@example("20261122T100000Z    ")
@example("2026-11-22T10:00:00,5Z")
@example("2026-11-22T10:00Z")
@example("2026-11-22T10:00+00:00")
@example("2026-11-22T100000.5Z")
@example("2026-11-22_10:00:00Z")
@example("2026-11-22T10:00:00+00:00+00:00")
@example("2026-11-22T10:00:00+01:00:00.5Z")
@example("2016-12-31T23:59:60Z")
@example("2016-12-31T15:59:60.25-08:00")
@example("2016-12-31T23:58:60Z")
def test_what_is_read_is_what_the_grammar_says(text: str) -> None:
    wanted = plainly(text)
    assert parsed(text) == wanted
    assert parse_times([text]) == (None if wanted is None else [wanted])
    assert parse_times(["2026-11-22T10:00:00Z", text]) == (None if wanted is None else [1_795_341_600_000, wanted])


@given(st.lists(good, min_size=1, max_size=6))
def test_the_gateway_s_columns_agree(texts: list[str]) -> None:
    reader = BodyReader(Catalogue([Meter("tokens", ("n",))]), events_max=10, age_max_ms=10**18)
    events = [{"id": str(number), "time": text, "customer": "c", "usage": {"n": 1}} for number, text in enumerate(texts)]
    wanted = [plainly(text) for text in texts]
    read = reader.read(JSON, {}, orjson.dumps(events * 1), now_ms=253_402_300_800_000)
    accepted = {index for part in read.accepted for index in part.indexes}
    assert accepted == {index for index, time_ms in enumerate(wanted) if time_ms is not None}
    for part in read.accepted:
        assert list(part.events.times) == [wanted[index] for index in part.indexes]


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.999z", "2017-01-01 00:59:60+01:00"])
def test_a_leap_second_is_the_last_millisecond_before_it(text: str) -> None:
    assert parsed(text) == parsed("2016-12-31T23:59:59.999Z")
