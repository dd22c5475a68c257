"""Hypothesis strategies of what is written to the topics: for each kind of record, whatever the code's encoders may be given."""

from dataclasses import replace

import orjson
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, PACKED_FROM, Batch
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, QUANTITY_MAX

from metering.records.adjustment import Adjustment, AdjustmentKind, part_digest, plan_digest
from metering.records.chain import ChainLink
from metering.records.dead_letter import DeadLetter
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Intent,
    LedgerAdoption,
    LedgerClosing,
    LedgerPlace,
    MeterEvent,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
)
from metering.records.notes.customer_link import CustomerLink
from metering.records.notes.publication import Publication
from metering.records.service_limits import VALUE_MAX
from metering.records.tally import (
    NO_DIGESTED_EMITTERS,
    NO_LOSSES,
    DigestedEmitters,
    EmitterState,
    EventCounts,
    Losses,
    NotCounted,
    RecordCounts,
    Tally,
    TallyRow,
    WhyNotCounted,
)

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
small = st.integers(0, 10**6)
offsets = st.integers(-1, 10**12)
dimensions = st.dictionaries(names, names, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))
quantities = st.integers(0, QUANTITY_MAX)
times_ms = st.integers(0, 2**42)

usage_events = st.builds(
    UsageEvent,
    event_id=names,
    source=st.just("") | names,
    customer=names,
    time_ms=times_ms,
    usage=st.dictionaries(names, quantities, min_size=1, max_size=3).map(lambda usage: tuple(sorted(usage.items()))),
    dimensions=dimensions,
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 12) | st.just(PACKED_FROM))
    sets = draw(st.lists(dimensions, min_size=1, max_size=3))
    customers = draw(st.lists(names, min_size=1, max_size=4))
    columns = {name: draw(st.lists(quantities, min_size=count, max_size=count)) for name in draw(st.sets(names, min_size=1, max_size=3))}
    return Batch(
        emitter=draw(names),
        partition=draw(st.integers(0, 999)),
        first_seq=draw(st.integers(0, 2**40)),
        count=count,
        customers=customers,
        dimensions=sets,
        series_dimensions=draw(st.lists(st.integers(0, len(sets) - 1), min_size=len(customers), max_size=len(customers))),
        at=draw(st.lists(st.integers(0, len(customers) - 1), min_size=count, max_size=count)),
        base_time_ms=draw(times_ms),
        time=draw(st.lists(st.integers(0, 10**9), min_size=count, max_size=count)),
        usage=columns,
        stamped=draw(st.booleans() | st.lists(st.integers(0, 1), min_size=count, max_size=count)),
        ids=draw(st.just(b"") | st.binary(min_size=count * FINGERPRINT_BYTES, max_size=count * FINGERPRINT_BYTES)),
    )


heartbeats = st.builds(
    Batch,
    emitter=names,
    partition=st.integers(0, 999),
    first_seq=st.integers(0, 2**40),
    count=st.just(0),
    final=st.booleans(),
    abandoned=st.lists(st.tuples(small, small).map(lambda pair: (min(pair), max(pair))), max_size=3).map(tuple),
    dropped=small,
)

_rows = st.builds(TallyRow, names, names, dimensions, small.map(lambda n: n * 60_000), st.integers(1, 2**62), st.integers(1, 10**9))
_states = st.builds(EmitterState, names, st.lists(st.tuples(small, small), max_size=2).map(tuple), small, st.none() | small, small, small, small)
_digested = st.lists(st.tuples(st.binary(min_size=16, max_size=16), small, small), max_size=3).map(
    lambda entries: (
        DigestedEmitters(b"".join(entry[0] for entry in entries), [entry[1] for entry in entries], [entry[2] for entry in entries])
        if entries
        else NO_DIGESTED_EMITTERS
    )
)
_reasons = st.sampled_from([reason.value for reason in Reason])
_places = st.lists(st.tuples(small, st.lists(st.integers(0, BATCH_EVENTS_MAX - 1), max_size=3).map(tuple)), max_size=3)
_runs = st.builds(
    NotCounted,
    small,
    st.integers(1, 10**6),
    st.integers(0, BATCH_EVENTS_MAX - 1),
    st.integers(0, BATCH_EVENTS_MAX - 1),
    st.sampled_from(WhyNotCounted),
)
_catalogue_entries = st.tuples(names, st.lists(names, min_size=1, max_size=2), st.lists(names, max_size=2), names, names).map(list)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    records = RecordCounts(*(draw(st.integers(0, 100)) for _ in range(4)))
    start = draw(small)
    return Tally(
        chain_id=draw(names),
        partition=draw(small),
        link=ChainLink(start, start + records.total, draw(offsets)),
        checkpoint=draw(offsets),
        instance=draw(names),
        catalogue=draw(names),
        log_time_ms=draw(small),
        records=records,
        events=EventCounts(draw(small), draw(small), draw(small), draw(st.dictionaries(_reasons, small, max_size=2))),
        rows=draw(st.lists(_rows, max_size=4)),
        ranges=draw(st.lists(st.tuples(names, small, small), max_size=2)),
        finals=draw(st.lists(st.tuples(names, small), max_size=2)),
        abandoned=draw(st.lists(st.tuples(names, small, small), max_size=2)),
        dropped=draw(st.lists(st.tuples(names, small), max_size=2)),
        emitter_states=draw(st.none() | st.lists(_states, max_size=2)),
        digested_emitters=draw(_digested),
        emitters_from_ms=draw(small),
        set_aside=draw(_places),
        unknown_usage=draw(st.lists(st.tuples(names, st.integers(1, 9), st.integers(1, 10**15)), max_size=2)),
        not_counted=draw(st.lists(_runs, max_size=3)),
        horizon_ms=draw(st.none() | small),
        catalogue_definition=draw(st.none() | st.lists(_catalogue_entries, max_size=2)),
        losses=draw(st.just(NO_LOSSES) | st.builds(Losses, small, small, offsets)),
    )


_signed_rows = st.builds(TallyRow, names, names, dimensions, small, st.integers(-(10**18), 10**18).filter(bool), st.integers(-(10**9), 10**9))


@st.composite
def adjustments(draw: st.DrawFn) -> Tally:
    end, rows, ids = draw(small), draw(st.lists(_signed_rows, max_size=4)), draw(st.binary(min_size=16, max_size=16) | st.just(b""))
    parts = draw(st.integers(1, 9))
    part = draw(st.integers(0, parts - 1))
    header = orjson.dumps({"parts": {"0": [parts, part_digest(rows, ids)]}}).decode()
    return Tally(
        chain_id=draw(names),
        partition=draw(small),
        link=ChainLink(end, end, draw(small)),
        checkpoint=draw(offsets),
        instance=draw(names),
        catalogue=draw(names),
        log_time_ms=draw(small),
        records=RecordCounts(),
        events=EventCounts(),
        rows=rows,
        ranges=[],
        finals=[],
        abandoned=[],
        dropped=[],
        set_aside=[],
        not_counted=[],
        unknown_usage=[],
        losses=draw(st.just(NO_LOSSES) | st.builds(Losses, small, small, offsets)),
        adjustment=Adjustment(
            offset=draw(st.integers(1, 10**9)),
            plan=plan_digest(header),
            part=part,
            parts=parts,
            digest=part_digest(rows, ids),
            kind=draw(st.sampled_from([kind for kind in AdjustmentKind if kind is not AdjustmentKind.ABANDON])),
            reason=draw(names),
            by=draw(names),
            at_ms=draw(small),
            header=header if part == 0 else None,
            ids=ids,
        ),
    )


_meter_events = st.builds(MeterEvent, names, names, dimensions, small, st.integers(1, VALUE_MAX) | st.integers(-VALUE_MAX, -1))
_settlements = st.builds(Settlement, small, small, st.sampled_from(Outcome), small, names)

_plain_intents = st.builds(
    Intent,
    chain_id=st.just("0123456789abcdef"),
    partition=small,
    link=st.builds(ChainLink, small, small, offsets),
    checkpoint=offsets,
    instance=names,
    tally_head=offsets,
    events_end=small,
    meter_events=st.lists(_meter_events, max_size=4),
    unbillable=st.lists(_meter_events, max_size=4),
    carried=st.lists(_meter_events, max_size=2),
)


@st.composite
def _linked_intents(draw: st.DrawFn) -> Intent:
    """One links a customer to one of Stripe's."""
    intent = draw(_plain_intents)
    customers = sorted({event.customer for event in intent.meter_events})
    links = {customer: draw(st.sampled_from(["", "cus_1", "acct_2"])) for customer in customers}
    return replace(intent, meter_events=[replace(event, linked=links[event.customer]) for event in intent.meter_events])


intents = _plain_intents | _linked_intents()
links = st.builds(CustomerLink, names, st.sampled_from(["", "cus_1", "acct_2"]), names, names, small)
receipts = st.builds(Receipt, names, small, offsets, offsets, names, st.lists(_settlements, max_size=4))
corrections = st.builds(
    Correction,
    chain_id=names,
    partition=small,
    offset=small,
    checkpoint=st.integers(-1, 10**6),
    instance=names,
    chain_head=small,
    chain_end=small,
    tally_head=small,
    events_end=small,
    kind=st.sampled_from(CorrectionKind),
    intent=small,
    index=small,
    target_identifier=names,
    event=_meter_events,
    reason=names,
    by=names,
    at_ms=small,
)
ledger_places = st.builds(LedgerPlace, small, st.integers(-1, 10**6), st.integers(-1, 10**6), st.integers(-1, 10**6), st.integers(-1, 10**6))
closings = st.builds(LedgerClosing, names, small, ledger_places, st.integers(-1, 10**6), names, names, names, names, small)
publications = st.builds(Publication, st.integers(-1, 10**6), small, names, st.lists(_catalogue_entries, max_size=2), names, names, small)
_doubts = st.lists(st.tuples(names, small), max_size=3)
adoptions = st.builds(
    LedgerAdoption,
    names,
    small,
    ledger_places,
    st.integers(-1, 10**6),
    names,
    names,
    st.integers(-1, 10**6),
    small,
    _doubts,
    small,
    names,
    names,
    small,
)
rejections = st.builds(Rejection, small, names, names, names, names, names, small, st.lists(names, max_size=3).map(tuple), small, small, small)

dead_letters = st.builds(
    DeadLetter,
    topic=names,
    partition=small,
    offset=small,
    log_time_ms=small,
    reason=st.sampled_from(Reason),
    field=st.text(max_size=8),
    detail=st.text(max_size=8),
    indexes=st.lists(st.integers(0, BATCH_EVENTS_MAX - 1), max_size=3),
    events=small,
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=8),
    headers=st.lists(st.tuples(names, st.binary(max_size=8)), max_size=2),
)
