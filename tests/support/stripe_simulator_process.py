"""Run the Stripe simulator as a process of its own, and speak its control API."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

START_S = 20.0
STOP_S = 10.0
CALL_S = 10.0


class SimulatorProcess:
    """One process. Every method may block for the seconds named above; start raises RuntimeError when it does not come up."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._port_file = folder / "port"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        self._port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "taximeter_sandbox.stripe", "--port-file", str(self._port_file), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "error"})
        deadline = time.monotonic() + START_S
        while not self._port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("the simulator did not start")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(self._port_file.read_text())}"

    def kill(self) -> None:
        """SIGKILL: no chance to write anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "not started"
        self._process.send_signal(number)
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
            raise

    def call(self, method: str, path: str, document: object = None) -> Any:
        """The JSON answer of the control API or the oracle. Raises urllib.error.HTTPError for another status than 200."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=CALL_S) as response:
            return json.loads(response.read())

    def refusal(self, method: str, path: str, document: object) -> str:
        """The reason of a 400."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.call(method, path, document)
        with caught.value as error:
            assert error.code == 400
            return str(json.loads(error.read())["error"])
