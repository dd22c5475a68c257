"""Any batch, in every form, reads back as it was written."""

import orjson
from hypothesis import given
from taximeter_emitter.wire.batch import Batch, encode_batch

from metering.records.batch_decoding import KnownTexts, decode_batch
from tests.support.batch_forms import in_columns, in_lists, plain
from tests.support.records import batches


@given(batches())
def test_a_batch_reads_back_as_it_was_written_in_either_form(batch: Batch) -> None:
    written = encode_batch(batch)
    for value in (written, in_lists(written), in_columns(written)):
        assert plain(decode_batch(orjson.loads(value))) == batch


@given(batches())
def test_texts_that_are_known_need_not_be_looked_at(batch: Batch) -> None:
    document = orjson.loads(in_columns(encode_batch(batch)))
    known = KnownTexts()
    known.customers = set(batch.customers)
    for _ in range(2):
        assert plain(decode_batch(document, known)) == batch
    known.customers = set(batch.customers[:1])
    assert plain(decode_batch(document, known)) == batch
