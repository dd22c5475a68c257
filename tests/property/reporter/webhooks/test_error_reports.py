"""Whatever a report holds, something is recorded."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metering.records.ledger_records import decode_entry, encode_rejection
from tests.support.reporter_error_reports import reader

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.sampled_from(["tm-ab-3-0-1-0", "batch-1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["data", "reason", "error_types", "code", "error_count", "sample_errors", "request", "identifier", "idempotency_key"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["data", "id"]), anything))
def test_whatever_the_document_is_something_is_recorded_that_the_ledger_can_keep(document: dict[str, Any]) -> None:
    found = reader().rejections(document, meter="tokens", at_ms=5)
    assert found
    assert len({(each.code, each.partition) for each in found}) == len(found)
    assert all(decode_entry(encode_rejection(each)) == each and each.error_count >= 1 for each in found)
