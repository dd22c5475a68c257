"""The audit reads usage.catalogue by code of its own, and finds what the services find, whatever is written there."""

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.recount.published_versions import PublishedVersions
from metering.folds.catalogue_timeline import CLOCKS_APART_MS, CatalogueTimeline, PublishedCatalogues
from metering.records.meters import Catalogue, Meter
from metering.records.notes.publication import Publication, decode_publication, encode_publication

CATALOGUES = [Catalogue([Meter("tokens", fields)]) for fields in (("a",), ("b",), ("a", "b"))]
START_MS = 1_780_000_000_000


@given(st.data())
def test_both_take_the_same_publications(data: st.DataObject) -> None:
    services, audit, now_ms = PublishedCatalogues(), PublishedVersions(), START_MS
    times: list[int] = []
    for offset in range(data.draw(st.integers(0, 12))):
        now_ms += data.draw(st.integers(-3, 12)) * MINUTE_MS
        catalogue = data.draw(st.sampled_from(CATALOGUES))
        after = data.draw(st.sampled_from([services.head, services.head, services.head, -1, offset - 1]))
        from_ms = data.draw(st.sampled_from([0, now_ms + 15 * MINUTE_MS, now_ms + 14 * MINUTE_MS, now_ms + 40 * MINUTE_MS]))
        value = encode_publication(Publication(after, from_ms, catalogue.version, catalogue.definition, "why", "ann", now_ms))
        value = data.draw(st.sampled_from([value, value, value, value[:-1], b"{}", value.replace(b'"tokens"', b'"others"')]))
        services.fold(offset, now_ms, decode_publication(value))
        audit.take(offset, now_ms, value)
        times += [now_ms, from_ms - 1, from_ms]
    for moment in (time for time in times if services.versions):
        if moment >= services.versions[0].log_time_ms + CLOCKS_APART_MS:
            assert audit.in_force(moment) == CatalogueTimeline(services.versions).in_force(moment).catalogue.version
        else:
            assert audit.in_force(moment) is None
