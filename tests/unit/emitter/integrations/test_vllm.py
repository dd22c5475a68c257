"""The environment of a model server says everything, and all that is wrong with it is said at once."""

import hashlib
from pathlib import Path

import orjson
import pytest
from taximeter_emitter.integrations.vllm import options_of

KEY = hashlib.sha256(b"sk-1").hexdigest()
GATEWAY = {"TAXIMETER_SOURCE": "inference/eu-1", "TAXIMETER_URL": "https://meter.internal", "TAXIMETER_API_KEY": "tmk_x"}


def test_a_gateway_and_customers_by_key(tmp_path: Path) -> None:
    (tmp_path / "customers.json").write_bytes(orjson.dumps({KEY: "cus_1"}))
    options, customer, split = options_of(
        {**GATEWAY, "TAXIMETER_CUSTOMERS_FILE": str(tmp_path / "customers.json"), "TAXIMETER_SPLIT": "cached, reasoning"}
    )
    assert options == {"source": "inference/eu-1", "url": "https://meter.internal", "api_key": "tmk_x"}
    assert customer({"headers": [(b"authorization", b"Bearer sk-1")]}) == "cus_1"
    assert split == ("cached", "reasoning")


def test_kafka_and_customers_by_header() -> None:
    options, customer, _ = options_of(
        {
            "TAXIMETER_SOURCE": "s",
            "TAXIMETER_BOOTSTRAP_SERVERS": "kafka:9092",
            "TAXIMETER_SPOOL_DIR": "/spool",
            "TAXIMETER_CUSTOMER_HEADER": "X-Customer",
        }
    )
    assert options == {"source": "s", "bootstrap_servers": "kafka:9092", "spool_dir": "/spool"}
    assert customer({"headers": [(b"x-customer", b"cus_1")]}) == "cus_1"


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "customers.json").write_text('{"sk-1": "cus_1"}')
    with pytest.raises(ValueError, match="SOURCE is missing") as refused:
        options_of({"TAXIMETER_SPLIT": "cachd", "TAXIMETER_CUSTOMERS_FILE": str(tmp_path / "customers.json")})
    for name in ("TAXIMETER_URL", "TAXIMETER_CUSTOMERS_FILE", "cachd", "SHA-256"):
        assert name in str(refused.value)
    with pytest.raises(ValueError, match="TAXIMETER_CUSTOMER_HEADER"):
        options_of(GATEWAY)
