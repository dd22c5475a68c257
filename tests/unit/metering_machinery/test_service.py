"""The runner, once in this process where that is enough and as a process where signals and exit codes are the point."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metering.process.secrets import Secret
from metering.process.service import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, ServiceContext, ServiceSettings, run_service
from metering.process.supervision import RefusedToStart

ROOT = Path(__file__).parents[3]

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


SERVICE = """
    import asyncio, sys, time
    from metering.process.service_command import service_command

    async def main(context, configuration):
        context.health.mark_started()
        context.log.info("running")
        {body}

    sys.exit(service_command(main, name="sample", summary="A sample.", sections={{}}))
"""


def start(tmp_path: Path, body: str, **environ: str) -> subprocess.Popen[str]:
    path = tmp_path / "sample.py"
    path.write_text(textwrap.dedent(SERVICE.format(body=body)))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", str(path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environ},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_running(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if '"running"' in line:
            return
    raise AssertionError(process.wait())


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, rest = process.communicate(timeout=15)
    finally:
        process.kill()
    return process.returncode, rest


def test_a_process_told_to_stop_leaves_with_zero_and_without_complaints(tmp_path: Path) -> None:
    process = start(tmp_path, "await context.stop.wait()")
    wait_until_running(process)
    process.send_signal(signal.SIGTERM)
    code, rest = end(process)
    assert code == EXIT_OK
    assert messages([json.loads(line) for line in rest.splitlines()]) == ["stopping", "ended", "stopped"]


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "await asyncio.Event().wait()")
    wait_until_running(process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert '"stopping"' in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, rest = end(process)
    assert code == 130
    assert json.loads(rest)["message"] == "exiting at once"
    assert json.loads(rest)["left"] == "main"


def test_a_second_sigterm_and_a_sighup_change_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "await context.supervisor.reload.wait(); await context.stop.wait(); await asyncio.sleep(0.5)")
    wait_until_running(process)
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    assert "asked to read files again" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert '"stopping"' in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    code, rest = end(process)
    assert code == EXIT_OK
    assert messages([json.loads(line) for line in rest.splitlines()]) == ["still draining", "ended", "stopped"]


def test_a_thread_that_never_ends_does_not_keep_the_process(tmp_path: Path) -> None:
    body = "import metering.process.service as s; s.CLOSE_SECONDS = 0.3; await asyncio.to_thread(time.sleep, 60)"
    process = start(tmp_path, body, TAXIMETER_SERVICE_DRAIN_SECONDS="0.2")
    wait_until_running(process)
    process.send_signal(signal.SIGTERM)
    code, rest = end(process)
    assert code == EXIT_FAILED
    assert "not drained in time" in rest
    assert "exiting although threads or tasks do not end" in rest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    async def main(_: ServiceContext) -> None:
        return

    assert run(main)[0] == EXIT_OK
    assert signal.getsignal(number) == before
