"""Single requests to a broker on a bare socket, for what a client library never sends: duplicates, old generations, nonsense."""

import asyncio
import io
import struct
from datetime import timedelta
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from taximeter_sandbox.kafka.protocol.codec import Fields, build_entity

CORRELATION_ID = 77


async def call(bootstrap: str, api_key: int, version: int, request: Fields) -> Any:
    """Send one request in its own connection and return kio's response. Raises IncompleteReadError when the broker hangs up."""
    schema = load_request_schema(api_key, version)
    buffer = io.BytesIO()
    header = build_entity(
        schema.__header_schema__,
        {"request_api_key": api_key, "request_api_version": version, "correlation_id": CORRELATION_ID, "client_id": "bare"},
    )
    entity_writer(schema.__header_schema__)(buffer, header)
    entity_writer(schema)(buffer, build_entity(schema, request))
    answer = await exchange(bootstrap, buffer.getvalue())
    response_schema = load_response_schema(api_key, version)
    answer_header, size = entity_reader(response_schema.__header_schema__)(answer, 0)
    assert answer_header.correlation_id == CORRELATION_ID
    response, body_size = entity_reader(response_schema)(answer, size)
    assert size + body_size == len(answer), "the response has bytes too many"
    return response


async def exchange(bootstrap: str, message: bytes) -> bytes:
    """Send one framed message and return the frame that comes back. Raises IncompleteReadError when the broker hangs up."""
    host, _, port = bootstrap.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(struct.pack(">i", len(message)) + message)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


def record_batch(
    values: list[bytes], *, producer_id: int = -1, epoch: int = -1, sequence: int = -1, timestamp_ms: int = 1, compression: int = 0
) -> bytes:
    """A record batch as a client would send it, its records one millisecond apart."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=16 * 1024 * 1024,
    )
    for offset, value in enumerate(values):
        assert builder.append(offset, timestamp=timestamp_ms + offset, key=None, value=value, headers=[]) is not None
    return bytes(builder.build())


async def produce_batch(bootstrap: str, topic: str, batch: bytes, *, partition: int = 0) -> Any:
    """Produce one batch with acks=all and return the partition's part of the answer."""
    request = produce_request(topic, batch, partition=partition)
    response = await call(bootstrap, 0, 8, request)
    return response.responses[0].partition_responses[0]


def produce_request(topic: str, batch: bytes, *, partition: int = 0, acks: int = -1) -> Fields:
    """The fields of a produce request with one batch."""
    return {
        "transactional_id": None,
        "acks": acks,
        "timeout": timedelta(seconds=5),
        "topic_data": [{"name": topic, "partition_data": [{"index": partition, "records": batch}]}],
    }


async def new_producer_id(bootstrap: str) -> int:
    """An id for an idempotent producer; Apache Kafka's coordinator may need a moment after the broker answers."""
    for _ in range(100):
        request = {"transactional_id": None, "transaction_timeout": timedelta(seconds=1)}
        response = await call(bootstrap, 22, 0, request)
        if response.error_code is ErrorCode.none:
            return int(response.producer_id)
        assert response.error_code is ErrorCode.coordinator_load_in_progress
        await asyncio.sleep(0.05)
    raise AssertionError("no producer id")
