"""Run stripe-mock as a process of its own."""

import json
import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.stripe_mock_module import StripeMock

STOP_S = 10.0


class MockProcess:
    """One process, for a `with` block; `fixtures` replaces its objects by name."""

    def __init__(self, mock: StripeMock, folder: Path, fixtures: dict[str, Any] | None = None) -> None:
        self._command = [str(mock.program), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"]
        self.log = folder / "stripe-mock.log"
        if fixtures is not None:
            file = folder / "fixtures.json"
            file.write_text(json.dumps({"resources": fixtures}), encoding="utf-8")
            self._command += ["-fixtures", str(file)]
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            found = re.match(r"Listening for HTTP at address: (127\.0\.0\.1:\d+)", line)
            if found is not None:
                self.url = f"http://{found[1]}"
                break
        if not self.url:
            self.__exit__(None, None, None)
            raise RuntimeError(f"stripe-mock did not start: {''.join(said)}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate(timeout=STOP_S)
