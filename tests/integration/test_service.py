"""The runner of services as a process: signals, exit codes, and what is left on stderr."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from metering.process.service import EXIT_FAILED, EXIT_OK
from tests.support.repository import ROOT

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
    assert [json.loads(line)["message"] for line in rest.splitlines()] == ["stopping", "ended", "stopped"]


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
    assert [json.loads(line)["message"] for line in rest.splitlines()] == ["still draining", "ended", "stopped"]


def test_a_thread_that_never_ends_does_not_keep_the_process(tmp_path: Path) -> None:
    body = "import metering.process.service as s; s.CLOSE_SECONDS = 0.3; await asyncio.to_thread(time.sleep, 60)"
    process = start(tmp_path, body, TAXIMETER_SERVICE_DRAIN_SECONDS="0.2")
    wait_until_running(process)
    process.send_signal(signal.SIGTERM)
    code, rest = end(process)
    assert code == EXIT_FAILED
    assert "not drained in time" in rest
    assert "exiting although threads or tasks do not end" in rest
