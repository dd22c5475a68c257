"""The runner of services, in this process; tests/integration has it as a process of its own."""

import asyncio
import io
import json
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metering.configuration.secrets import Secret
from metering.process.service import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, ServiceContext, ServiceSettings, run_service
from metering.process.supervision import RefusedToStart

Main = Callable[[ServiceContext], Coroutine[Any, Any, None]]


def run(main: Main, **settings: Any) -> tuple[int, list[dict[str, Any]]]:
    out = io.StringIO()
    code = run_service(main, name="sample", settings=ServiceSettings(log_style="json", **settings), secrets=[Secret("planted-secret")], stream=out)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def messages(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


def test_sigterm_drains_and_exits_with_zero() -> None:
    drained = []

    async def main(context: ServiceContext) -> None:
        context.health.mark_started()
        os.kill(os.getpid(), signal.SIGTERM)
        await context.stop.wait()
        assert context.health.readiness().conditions["not_stopping"] == "draining"
        drained.append(True)

    code, lines = run(main)
    assert (code, drained) == (EXIT_OK, [True])
    assert messages(lines) == ["started", "stopping", "ended", "stopped"]
    assert lines[1]["reason"] == "SIGTERM"


def test_a_crash_is_logged_with_its_trace_and_exits_with_failure() -> None:
    async def main(context: ServiceContext) -> None:
        async def crashes() -> None:
            raise LookupError("about planted-secret")

        context.spawn("worker", crashes())
        await context.stop.wait()

    code, lines = run(main)
    assert code == EXIT_FAILED
    (crash,) = [line for line in lines if line["message"] == "task crashed"]
    assert crash["task"] == "worker"
    assert "LookupError" in crash["error"]
    assert "planted-secret" not in json.dumps(lines)


def test_refusal_to_start_has_its_own_exit_code() -> None:
    async def main(_: ServiceContext) -> None:
        raise RefusedToStart(["topic usage.events is compacted"])

    code, lines = run(main)
    assert code == EXIT_REFUSED
    assert "topic usage.events is compacted" in [line.get("problem") for line in lines]


def test_what_does_not_drain_in_time_is_named_cancelled_and_a_failure() -> None:
    ended = []

    async def main(context: ServiceContext) -> None:
        async def stuck() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        context.spawn("stuck", stuck())
        context.request_stop("test")

    code, lines = run(main, drain_seconds=0.1)
    assert (code, ended) == (EXIT_FAILED, [True])
    (late,) = [line for line in lines if line["message"] == "not drained in time"]
    assert late["left"] == "stuck"


def test_the_admin_port_is_there_for_the_whole_life(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    seen: dict[str, Any] = {}

    async def main(context: ServiceContext) -> None:
        port = int(port_file.read_text())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/livez") as response:
                seen["live"] = response.status
            async with session.get("/readyz") as response:
                seen["starting"] = response.status
            context.health.mark_started()
            async with session.get("/readyz") as response:
                seen["ready"] = response.status
            context.request_stop("test")
            async with session.get("/readyz") as response:
                seen["draining"] = response.status
            await asyncio.sleep(0.6)
            async with session.get("/metrics") as response:
                seen["metrics"] = await response.text()

    code, _ = run(main, admin_port_file=port_file, commit="abc")
    assert code == EXIT_OK
    metrics = seen.pop("metrics")
    assert seen == {"live": 200, "starting": 503, "ready": 200, "draining": 503}
    assert 'taximeter_build_info{commit="abc"' in metrics
    assert 'taximeter_log_messages_total{level="info"} 2.0' in metrics
    assert "taximeter_event_loop_lag_seconds_count 1.0" in metrics
    assert "_created" not in metrics
    assert not port_file.exists()


def test_an_admin_port_that_is_taken_is_a_failure_with_a_reason() -> None:
    async def never(_: ServiceContext) -> None:
        raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, lines = run(never, admin_port=taken.getsockname()[1])
    assert code == EXIT_FAILED
    assert messages(lines) == ["the admin port cannot be opened"]
    assert "in use" in lines[0]["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    async def main(_: ServiceContext) -> None:
        return

    assert run(main)[0] == EXIT_OK
    assert signal.getsignal(number) == before
