"""Any texts in a prepared form."""

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from reporter.stripe.meter_events_v1 import form_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXTS, st.dictionaries(TEXTS.filter(lambda key: "]" not in key), TEXTS, max_size=4), TEXTS, st.integers(0, 10**10))
def test_a_form_says_what_it_was_made_of_whatever_the_texts_are(name: str, payload: dict[str, str], identifier: str, timestamp_s: int) -> None:
    form = form_of(event_name=name, payload=payload, identifier=identifier, timestamp_s=timestamp_s)
    assert form.isascii()
    assert parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=True) == [
        ("event_name", name),
        *((f"payload[{key}]", value) for key, value in payload.items()),
        ("identifier", identifier),
        ("timestamp", str(timestamp_s)),
    ]
