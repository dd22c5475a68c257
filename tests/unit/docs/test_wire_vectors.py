"""The vectors for emitters in other languages are what a reader finds who shares no code with the emitter."""

from hashlib import blake2b, sha256
from typing import Any

import orjson
import pytest

from audit.decoder.batch_documents import batch_in
from audit.decoder.home_partition import home_of
from ingest.requests.batch_bodies import BatchReader
from tests.support.repository import ROOT
from tools.wire_vectors import VECTORS_PATH, vectors_text


@pytest.fixture(scope="module")
def found() -> Any:
    return orjson.loads((ROOT / VECTORS_PATH).read_bytes())


def test_the_committed_vectors_are_the_code_s() -> None:
    assert (ROOT / VECTORS_PATH).read_text() == vectors_text(), "run: python -m tools.documentation"


def test_partitions_fingerprints_and_names_are_as_the_file_describes_them(found: Any) -> None:
    for vector in found["partitions"]:
        assert home_of(vector["customer"], vector["partitions"]) == vector["partition"]
    for vector in found["fingerprints"]:
        source = vector["source"].encode()
        raw = len(source).to_bytes(4, "big") + source + vector["id"].encode()
        assert blake2b(raw, digest_size=16).hexdigest() == vector["fingerprint"]
    for vector in found["names"]:
        name = sha256(b"taximeter emitter " + vector["secret"].encode()).hexdigest()[:32]
        assert (vector["name"], vector["may_send_as"]) == (name, [name, f"{name}-unplaced"])


def test_batches_are_taken_by_the_gateway_and_read_by_the_audit(found: Any) -> None:
    (name,) = found["names"]
    for vector in found["batches"]:
        read = BatchReader(12).read(vector["value"].encode(), secret=name["secret"], customers=None)
        assert [batch.count for batch in read.accepted.values()] == [vector["fields"]["count"]]
        contents = batch_in(orjson.loads(vector["value"]), 1_763_800_100_000)
        assert contents.emitter == vector["fields"]["emitter"] == name["name"]
