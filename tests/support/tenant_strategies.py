"""What tenants send, as Hypothesis strategies: the others what is good, or refused for reasons of their own; the tenant whatever comes to mind."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import NO_ID, Batch, encode_batch
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS, QUANTITY_MAX

from tests.support.aggregator_records import START_MS
from tests.support.batch_forms import in_columns
from tests.support.tenants import OTHERS, TENANT, Posted, Step, Written

IDS: Final = ["1", "2", "3", "4"]
SOURCES: Final = ["", "s", "t"]
JUNK: Final[list[Any]] = [None, True, -1, 1.5, "", "x" * 200, [], {}, {"cus": 1}, 2**63]
AGES_MS: Final = [0, 0, MINUTE_MS, HOUR_MS, 7 * HOUR_MS, 36 * DAY_MS, -4 * MINUTE_MS, -6 * MINUTE_MS, -400 * DAY_MS]
USAGES: Final[list[dict[str, int]]] = [
    *({"input": 3}, {"input": 2, "output": 5}, {"calls": 1}, {"calls": 0}, {"input": 3, "mystery": 1}, {"mystery": 1}, {"free": 2, "input": 1}),
    {"input": QUANTITY_MAX, "output": QUANTITY_MAX},
]
Document = dict[str, Any]


def _time(age_ms: int) -> str:
    return datetime.fromtimestamp((START_MS - age_ms) / 1000, UTC).isoformat()


def documents(customers: Sequence[str]) -> st.SearchStrategy[Document]:
    """Events in our own form. Their ids, sources and contents are the same for everybody."""
    return st.builds(
        lambda event_id, source, customer, usage, model, age_ms: {
            "id": event_id,
            **({"source": source} if source else {}),
            "customer": customer,
            "usage": usage,
            "dimensions": {"model": model},
            **({} if age_ms is None else {"time": _time(age_ms)}),
        },
        st.sampled_from(IDS),
        st.sampled_from(SOURCES),
        st.sampled_from(customers),
        st.sampled_from(USAGES),
        st.sampled_from(["m", "n"]),
        st.none() | st.sampled_from(AGES_MS),
    )


def _cloudevent(event: Mapping[str, Any]) -> Document:
    # A CloudEvent has a source; one that nothing else has keeps different events different.
    data = {name: event[name] for name in ("customer", "usage", "dimensions") if name in event}
    attributes = {name: event[name] for name in ("id", "time") if name in event}
    return {"specversion": "1.0", "type": "t", "source": event.get("source", "none"), **attributes, "data": data}


@st.composite
def _spoilt(draw: st.DrawFn, good: st.SearchStrategy[Document]) -> Document:
    document = draw(good)
    name = draw(st.sampled_from([*document, "surprise"]))
    if draw(st.booleans()):
        document[name] = draw(st.sampled_from(JUNK))
    else:
        document.pop(name, None)
    return document


def _identity(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["customer"], event.get("source"), event["id"]


def _good_post(events: list[Document], form: str) -> Posted:
    if form == "lines":
        return Posted(OTHERS, b"\n".join(map(orjson.dumps, events)), (("Content-Type", "application/x-ndjson"),))
    if form == "cloudevents":
        return Posted(OTHERS, orjson.dumps(list(map(_cloudevent, events))), (("Content-Type", "application/cloudevents-batch+json"),))
    return Posted(OTHERS, orjson.dumps(events))


def _single(customers: tuple[str, ...], event: Document, form: str, times: int) -> Written:
    if form == "structured":
        return Written(customers, orjson.dumps(_cloudevent(event)), (), times)
    if form == "binary":
        about = {name: text for name, text in _cloudevent(event).items() if type(text) is str}
        headers = tuple((f"ce_{name}", text.encode()) for name, text in about.items())
        return Written(customers, orjson.dumps(_cloudevent(event)["data"]), headers, times)
    return Written(customers, orjson.dumps(event), (), times)


FINGERPRINTS: Final = st.sampled_from([NO_ID, *(fingerprint(source, event_id) for source in SOURCES for event_id in IDS)]) | st.binary(
    min_size=16, max_size=16
)


@st.composite
def _batches(draw: st.DrawFn, customers: tuple[str, ...], emitters: Sequence[str]) -> bytes:
    count = draw(st.integers(1, 6) | st.just(70))
    names = draw(st.lists(st.sampled_from(["input", "output", "calls", "free", "mystery"]), min_size=1, max_size=3, unique=True))
    column = st.lists(st.sampled_from([0, 1, 5, QUANTITY_MAX]), min_size=count, max_size=count)
    batch = Batch(
        emitter=draw(st.sampled_from(emitters)),
        partition=0,
        first_seq=draw(st.integers(0, 12)),
        count=count,
        customers=list(customers),
        dimensions=[(("model", "m"),), ()],
        series_dimensions=[draw(st.integers(0, 1)) for _ in customers],
        at=draw(st.lists(st.integers(0, len(customers) - 1), min_size=count, max_size=count)),
        base_time_ms=START_MS - draw(st.sampled_from(AGES_MS)),
        time=draw(st.lists(st.sampled_from([0, 1, 70_000, HOUR_MS]), min_size=count, max_size=count)),
        usage={name: draw(column) for name in names},
        stamped=draw(st.booleans()),
        ids=draw(st.just(b"") | st.lists(FINGERPRINTS, min_size=count, max_size=count).map(b"".join)),
    )
    value = encode_batch(batch)
    return in_columns(value) if draw(st.booleans()) else value


@st.composite
def _spoilt_batches(draw: st.DrawFn) -> bytes:
    document = orjson.loads(draw(_batches(TENANT, ["evil", "evil2"])))
    name = draw(st.sampled_from([*document, "final", "surprise"]))
    document[name] = draw(st.sampled_from([*JUNK, "1AAA=", [0], [0, 1, 2], 3]))
    return orjson.dumps(document)


_FORMS: Final = st.sampled_from(["own", "structured", "binary"])
OTHERS_SEND: Final = st.one_of(
    st.builds(
        _good_post,
        st.lists(documents(OTHERS), min_size=1, max_size=8, unique_by=_identity),
        st.sampled_from(["array", "lines", "cloudevents"]),
    ),
    st.builds(_single, st.just(OTHERS), documents(OTHERS), _FORMS, st.sampled_from([1, 1, 2])),
    st.builds(Written, st.just(OTHERS), _batches(OTHERS, ["service"])),
)
"""Within one moment no identity twice: which of two comes first is not said there."""

_BAD_BODIES: Final = st.one_of(
    st.lists(documents([*TENANT, *OTHERS]) | _spoilt(documents([*TENANT, *OTHERS])), max_size=8).map(orjson.dumps),
    st.lists(documents(TENANT), min_size=1, max_size=4).map(lambda events: b"\n".join(map(orjson.dumps, events))),
    st.sampled_from([b"", b"{", b"[]", b"null", b"[" * 500, b'{"id":"1"}' * 2, b"\xff"]),
    documents([*TENANT, *OTHERS]).map(lambda event: orjson.dumps(_cloudevent(event))),
)
_MEDIA: Final = st.sampled_from(
    ["application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain"]
)
_FLOODS: Final = documents([*TENANT, *OTHERS]).map(orjson.dumps) | st.just(b"{}")
TENANT_POSTS: Final = st.builds(lambda body, media: Posted(TENANT, body, (("Content-Type", media),)), _BAD_BODIES, _MEDIA) | st.builds(
    lambda body, copies: Posted(TENANT, body, copies=copies), _FLOODS, st.sampled_from([40, 650, 5_000])
)
TENANT_WRITES: Final = st.one_of(
    st.builds(_single, st.just(TENANT), documents(TENANT) | _spoilt(documents(TENANT)), _FORMS, st.sampled_from([1, 1, 2, 40])),
    st.builds(lambda value, times: Written(TENANT, value, (), times), _batches(TENANT, ["evil", "evil2"]), st.sampled_from([1, 1, 9])),
    _spoilt_batches().map(lambda value: Written(TENANT, value)),
    st.sampled_from([None, b"", b"{", b"7", b"\xff\xfe", b'{"taximeter":1}', b'{"taximeter":9,"count":5000}']).map(
        lambda value: Written(TENANT, value)
    ),
)


def scripts(tenant_sends: st.SearchStrategy[Posted | Written]) -> st.SearchStrategy[list[Step]]:
    """Some moments at which the tenant and the others send, and the aggregator does something or not."""
    sent = st.tuples(st.lists(tenant_sends, max_size=3), st.lists(OTHERS_SEND, max_size=1), st.booleans())
    step = st.builds(
        lambda who, counts, flushes, is_replaced: Step(tuple([*who[0], *who[1]] if who[2] else [*who[1], *who[0]]), counts, flushes, is_replaced),
        sent,
        st.booleans(),
        st.booleans(),
        st.sampled_from([False, False, True]),
    )
    return st.lists(step, min_size=1, max_size=8)
