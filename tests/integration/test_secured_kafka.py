"""The whole pipeline on an Apache Kafka with SASL_SSL; and what is said where the password or the certificate is not the right one."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import orjson
import pytest
import stripe

from metering.kafka.clients import KafkaSettings
from taximeter.cli import main
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import METERS, environment, gateway
from tests.support.gateway_requests import event, post
from tests.support.reporter_process import reporter
from tests.support.secured_kafka import PASSWORD, USER, SecuredKafka, secured_kafka
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY

pytestmark = pytest.mark.broker
PATIENCE_SECONDS: Final = 60.0


def variables(kafka: SecuredKafka, **changed: str) -> dict[str, str]:
    found = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": USER, "SASL_PASSWORD": PASSWORD, "SSL_CAFILE": str(kafka.cafile), **changed}
    return {f"TAXIMETER_KAFKA_{name}": value for name, value in found.items()}


def test_usage_goes_from_a_request_to_stripe_over_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        kafka = stack.enter_context(secured_kafka(tmp_path))
        settings = KafkaSettings(bootstrap_servers=(kafka.bootstrap,), partitions=1, replication_factor=1)
        security = variables(kafka)

        def command(*arguments: str, security: Mapping[str, str] = security) -> tuple[int, str]:
            """In this process, which spares its start: the exit code, and all that was said."""
            (tmp_path / "command.toml").write_text(METERS)
            with pytest.MonkeyPatch.context() as patch:
                for name, value in environment(settings, security).items():
                    patch.setenv(name, value)
                code = main([*arguments, "--config", str(tmp_path / "command.toml")])
            said = capsys.readouterr()
            return code, said.out + said.err

        door = stack.enter_context(gateway(settings, tmp_path / "gateway", variables=security))
        assert asyncio.run(post(door.url, orjson.dumps(event(1))))[0] == 202

        # As each service does before it starts.
        for changed, words in (
            ({"SASL_PASSWORD": "wrong-secret"}, "SaslAuthenticationFailed"),
            ({"SSL_CAFILE": str(kafka.other_cafile)}, "CERTIFICATE_VERIFY_FAILED"),
        ):
            code, said = command("topics", "create", security=variables(kafka, STARTUP_TIMEOUT_SECONDS="1", **changed))
            assert code == 4, said
            assert f"no bootstrap server answers: {kafka.bootstrap} (" in said
            assert words in said
            assert "secret" not in said

        simulator = _simulator(stack, tmp_path)
        stack.enter_context(aggregator(settings, tmp_path / "aggregator", more=security))
        reporting = {
            "STRIPE_API_KEY": KEY,
            "TAXIMETER_STRIPE_API_BASE": simulator.url,
            "TAXIMETER_REPORTER_REPORT_SECONDS": "0.2",
            "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": "whsec_unused",
        }
        stack.enter_context(reporter(settings, tmp_path / "reporter", {**security, **reporting}))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (verdict := command("verify"))[0] != 0:
            assert time.monotonic() < deadline, verdict
            time.sleep(0.2)
        assert "EXACT" in verdict[1]
        assert command("status")[0] == 0


def _simulator(stack: ExitStack, folder: Path) -> SimulatorProcess:
    simulator = SimulatorProcess(folder)
    simulator.start()
    stack.callback(simulator.stop)
    client = stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())
    client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    return simulator
