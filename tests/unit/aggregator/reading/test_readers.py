"""Which reader is chosen."""

import sys

import pytest

from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.readers import quickest_reader
from metering.kafka.batches.framed_response import native_framer


def test_without_the_native_reader_the_plain_one_reads_and_records_are_not_framed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "taximeter_native", None)  # an import of it then fails
    monkeypatch.delitem(sys.modules, "aggregator.reading.native_reader", raising=False)
    assert quickest_reader() == ("plain", PlainReader)
    assert native_framer() is None


def test_where_it_is_installed_the_native_one_reads() -> None:
    pytest.importorskip("taximeter_native", reason="the native reader is not installed")
    assert quickest_reader().name == "native"
    assert native_framer() is not None
