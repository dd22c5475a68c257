"""The probe of the health checks says what the admin port says, and nothing else counts as well."""

import asyncio
import socket

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.process.admin import AdminServer
from metering.process.health import Health
from metering.process.listener import ListenAddress
from metering.process.probe import EXIT_UNWELL, EXIT_USAGE, EXIT_WELL, main, probe
from metering.process.status_page import StatusPage


async def test_it_follows_readiness(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(SystemClock())
    server = AdminServer(ListenAddress(host="127.0.0.1", port=0), registry=CollectorRegistry(), health=health, status=StatusPage())
    await server.start()
    try:
        url = f"http://127.0.0.1:{server.port}/readyz"
        assert await asyncio.to_thread(main, [url]) == EXIT_UNWELL
        assert "still starting" in capsys.readouterr().out
        health.mark_started()
        assert await asyncio.to_thread(main, [url]) == EXIT_WELL
        assert await asyncio.to_thread(main, [f"http://127.0.0.1:{server.port}/nothing"]) == EXIT_UNWELL
    finally:
        await server.stop()


def test_no_answer_is_unwell() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main([f"http://127.0.0.1:{port}/"]) == EXIT_UNWELL  # bound and not listening: refused
        taken.listen()
        well, said = probe(f"http://127.0.0.1:{port}/", timeout_seconds=0.05)  # listening and silent
    assert not well
    assert "no answer" in said


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "127.0.0.1:80", "http:///readyz", "http://127.0.0.1:port/"])
def test_what_is_no_address_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url]) == EXIT_USAGE
    assert "probe:" in capsys.readouterr().err
