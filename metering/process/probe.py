"""Ask one address whether it is healthy: `python -m metering.process.probe http://127.0.0.1:9464/readyz`. For images without a shell or curl.

Exit codes: 0 the status of the answer is 200; 1 another status, or no answer in time; 3 the argument is not an address.
"""

import argparse
import http.client
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 3.0
ANSWER_BYTES_MAX: Final = 4096

EXIT_WELL: Final = 0
EXIT_UNWELL: Final = 1
EXIT_USAGE: Final = 3


def probe(url: str, timeout_seconds: float) -> tuple[bool, str]:
    """GET the address once, without following redirects. Returns whether it answered 200, and its answer.

    Blocks for at most `timeout_seconds` at each step. Raises ValueError when `url` is not http://HOST[:PORT][/PATH].
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url} is not http://HOST[:PORT][/PATH]")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        said = response.read(ANSWER_BYTES_MAX).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {url}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return response.status == http.HTTPStatus.OK, said


def main(arguments: Sequence[str] | None = None) -> int:
    """Probe, print what the service said, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metering.process.probe", description="Exit with 0 when an address answers 200.")
    parser.add_argument("url", help="http://HOST[:PORT][/PATH]")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help=f"default: {TIMEOUT_SECONDS}")
    parsed = parser.parse_args(arguments)
    try:
        well, said = probe(parsed.url, parsed.timeout)
    except ValueError as error:
        print(f"probe: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(said.strip())
    return EXIT_WELL if well else EXIT_UNWELL


if __name__ == "__main__":
    sys.exit(main())
