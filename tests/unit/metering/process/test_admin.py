import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from metering.process.admin import AdminServer
from metering.process.health import Health
from metering.process.listener import CannotListen, ListenAddress
from metering.process.metrics import counter
from metering.process.status_page import StatusPage
from tests.support.manual_clock import ManualClock


@asynccontextmanager
async def admin(
    health: Health, port_file: Path | None = None, status: StatusPage | None = None
) -> AsyncIterator[tuple[AdminServer, aiohttp.ClientSession]]:
    registry = CollectorRegistry()
    counter(registry, "taximeter_events_total", "Events.").inc(3)
    server = AdminServer(
        ListenAddress(host="127.0.0.1", port=0, port_file=port_file), registry=registry, health=health, status=status or StatusPage()
    )
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield server, session
    finally:
        await server.stop()


async def test_probes_answer_200_or_503_and_name_what_fails() -> None:
    clock = ManualClock()
    health = Health(clock)
    async with admin(health) as (_, session):
        async with session.get("/startupz") as response:
            assert response.status == 503
        async with session.get("/readyz") as response:
            assert response.status == 503
            assert json.loads(await response.read()) == {
                "ok": False,
                "failing": ["started"],
                "conditions": {"started": "still starting", "not_stopping": "ok"},
            }
        health.mark_started()
        for path in ("/startupz", "/readyz", "/livez"):
            async with session.get(path) as response:
                assert response.status == 200
                assert response.headers["Content-Type"] == "application/json"
        clock.advance(60)
        async with session.get("/livez") as response:
            assert response.status == 503


async def test_metrics_come_in_the_format_that_was_asked_for() -> None:
    async with admin(Health(ManualClock())) as (_, session):
        async with session.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert "taximeter_events_total 3.0" in await response.text()
        async with session.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            assert (await response.text()).endswith("# EOF\n")


async def test_the_status_page_is_json() -> None:
    status = StatusPage()
    status.provide("partitions", lambda: [1, 2])
    async with admin(Health(ManualClock()), status=status) as (_, session), session.get("/status") as response:
        assert response.status == 200
        assert json.loads(await response.read()) == {"partitions": [1, 2]}


async def test_other_paths_and_methods_are_refused() -> None:
    async with admin(Health(ManualClock())) as (_, session):
        async with session.get("/") as response:
            assert response.status == 404
        async with session.post("/metrics") as response:
            assert response.status == 405


async def test_the_port_file_appears_whole_and_disappears(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with admin(Health(ManualClock()), path) as (server, _):
        assert path.read_text() == f"{server.port}\n"
    assert not path.exists()


async def test_a_taken_port_and_a_missing_folder_are_errors_that_leave_nothing_open(tmp_path: Path) -> None:
    health = Health(ManualClock())
    async with admin(health) as (first, _):
        second = AdminServer(ListenAddress(host="127.0.0.1", port=first.port), registry=CollectorRegistry(), health=health, status=StatusPage())
        with pytest.raises(CannotListen, match="in use"):
            await second.start()
    nowhere = ListenAddress(host="127.0.0.1", port=0, port_file=tmp_path / "no" / "port")
    third = AdminServer(nowhere, registry=CollectorRegistry(), health=health, status=StatusPage())
    with pytest.raises(CannotListen, match="port file"):
        await third.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", third.port)
