"""Which events of a record a selector means. Pure."""

from collections.abc import Sequence

from audit.decoder.record_contents import BatchContents, SingleContents
from audit.decoder.record_reading import source_of
from metering.plans.usage_selector import UsageSelector
from metering.records.record import LogRecord


def selected_places(selector: UsageSelector, record: LogRecord, contents: SingleContents | BatchContents, places: Sequence[int]) -> Sequence[int]:
    """Of these places in the record, those that are meant. The conditions on meters are about rows and not looked at here."""
    if not places or not selector.takes_record(record.offset, record.timestamp):
        return ()
    if selector.sources and not selector.takes_source(contents.emitter if isinstance(contents, BatchContents) else source_of(record)):
        return ()
    events = contents.events
    if selector.customers:
        series = {number for number, (customer, _) in enumerate(events.series) if customer in selector.customers}
        if not series:
            return ()
        if len(series) < len(events.series):
            places = [place for place in places if events.at[place] in series]
    if selector.event_from_ms is not None or selector.event_to_ms is not None:
        places = [place for place in places if selector.takes_time(events.times[place])]
    return places
