"""Events that can never be billed are refused by name; the horizon is the aggregators' where the gateway knows it."""

from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from aggregator.settings import AggregatorSettings
from ingest.__main__ import file_problems
from ingest.requests.bodies import JSON, NDJSON, BodyReader
from ingest.requests.event_age import HORIZON_KEY, HORIZON_VARIABLE, age_max_ms
from metering.configuration.settings import describe
from metering.records.meters import Catalogue, Meter
from metering.records.service_limits import EVENT_AGE_MAX_MS

NOW_MS = 1_795_341_600_000  # 2026-11-22T10:00:00Z
CATALOGUE = Catalogue([Meter("tokens", ("n",))])


@pytest.mark.parametrize(
    ("environ", "document", "wanted"),
    [
        ({}, {}, EVENT_AGE_MAX_MS),
        ({}, {"aggregator": {}}, EVENT_AGE_MAX_MS),
        ({}, {"aggregator": {HORIZON_KEY: 7200}}, 2 * HOUR_MS),
        ({}, {"aggregator": {HORIZON_KEY: 40 * 86400}}, EVENT_AGE_MAX_MS),
        ({HORIZON_VARIABLE: "3600"}, {"aggregator": {HORIZON_KEY: 7200}}, HOUR_MS),
        ({HORIZON_VARIABLE: ""}, {"aggregator": {HORIZON_KEY: 7200}}, 2 * HOUR_MS),
    ],
)
def test_the_horizon_is_the_aggregators_where_the_gateway_knows_it(environ: dict[str, str], document: dict[str, Any], wanted: int) -> None:
    assert age_max_ms(environ, document) == wanted


def test_the_names_of_the_setting_are_the_aggregators() -> None:
    assert (HORIZON_KEY, HORIZON_VARIABLE) in {(row.key, row.variable) for row in describe(AggregatorSettings, "aggregator")}


def test_a_horizon_that_is_no_number_is_a_problem() -> None:
    meters = [{"event_name": "tokens", "sum": ["n"]}]
    assert file_problems({"meters": meters}) == []
    for value in ("a day", [1], float("inf")):
        (problem,) = file_problems({"meters": meters, "aggregator": {HORIZON_KEY: value}})
        assert HORIZON_KEY in problem


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
@pytest.mark.parametrize(("max_ms", "old"), [(EVENT_AGE_MAX_MS, "2026-10-18T09:59:59.999Z"), (DAY_MS, "2026-11-21T09:59:59.999Z")])
def test_what_can_never_be_billed_is_refused_to_the_millisecond(max_ms: int, old: str, media_type: str, count: int) -> None:
    reader = BodyReader(CATALOGUE, events_max=10, age_max_ms=max_ms)

    def read(time: str) -> list[tuple[str, str]]:
        events = [{"id": f"r-{number}", "customer": "c", "time": time, "usage": {"n": 1}} for number in range(count)]
        body = orjson.dumps(events) if media_type == JSON else b"\n".join(map(orjson.dumps, events))
        found = reader.read(media_type, {}, body, now_ms=NOW_MS)
        assert sum(len(part.ids) for part in found.accepted) + len(found.rejected) == count
        return [(rejected.reason, rejected.field) for rejected in found.rejected]

    assert read(old) == [("past_horizon", "time")] * count
    assert read(old.replace("09:59:59.999", "10:00:00.000")) == []
