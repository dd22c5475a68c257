"""What KafkaOptions refuses, and what it never shows."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from taximeter_emitter import Emitter, KafkaOptions
from taximeter_emitter.transports.kafka_connection import connection_arguments

from metering.configuration.secrets import Secret
from metering.kafka.clients import KafkaSettings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bootstrap_servers": []}, "is empty"),
        ({"bootstrap_servers": "kafka:9092"}, "a list"),
        ({"bootstrap_servers": ["kafka"]}, "not host:port"),
        ({"compression": "brotli"}, "compression is 'brotli'; it takes none, gzip"),
        ({"security_protocol": "TLS"}, "security_protocol is 'TLS'"),
        ({"sasl_mechanism": "GSSAPI"}, "sasl_mechanism is 'GSSAPI'"),
        ({"request_timeout_seconds": 0}, "request_timeout_seconds"),
        ({"security_protocol": "SASL_SSL", "sasl_username": "u"}, "needs sasl_username and sasl_password"),
        ({"sasl_password": "planted"}, "security_protocol is PLAINTEXT"),
        ({"ssl_keyfile": "/dev/null/nothing", "ssl_certfile": __file__}, "not a file"),
        ({"ssl_keyfile": __file__}, "needs ssl_certfile"),
    ],
)
def test_what_cannot_be_right_is_said_and_refused_by_the_emitter(options: dict[str, Any], problem: str) -> None:
    kafka = KafkaOptions(**({"bootstrap_servers": ["kafka:9092"]} | options))
    (found,) = kafka.problems()
    assert problem in found
    assert "planted" not in found
    with pytest.raises(ValueError, match=problem.replace("(", ".")):
        Emitter(kafka=kafka, source="test")


def test_passwords_are_not_shown() -> None:
    kafka = KafkaOptions(bootstrap_servers=["kafka:9092"], sasl_username="u", sasl_password="planted", ssl_key_password="planted")
    assert "planted" not in repr(kafka)
    assert "'u'" in repr(kafka)


def test_the_settings_of_the_services_give_every_option() -> None:
    settings = KafkaSettings(
        bootstrap_servers=("a:1", "b:2"),
        client_id="c",
        compression="zstd",
        request_timeout_seconds=7,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="u",
        sasl_password=Secret("planted"),
        ssl_cafile=Path("ca"),
        ssl_certfile=Path("cert"),
        ssl_keyfile=Path("key"),
        ssl_key_password=Secret("planted too"),
    )
    options = settings.options()
    for field in fields(KafkaOptions):
        given = getattr(settings, field.name)
        assert getattr(options, field.name) == (given.reveal() if isinstance(given, Secret) else given) != field.default
    arguments = connection_arguments(options, "test")
    assert (arguments["client_id"], arguments["request_timeout_ms"], arguments["bootstrap_servers"]) == ("c-test", 7_000, ["a:1", "b:2"])
    assert (arguments["sasl_mechanism"], arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("PLAIN", "u", "planted")
