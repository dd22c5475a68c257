"""An HTTP server that reads each body and says 202, on the gateway's own foundation, and nothing else: `python -m benchmarks.bare_http PORT_FILE`."""

import asyncio
import sys
from pathlib import Path as Folder
from typing import Final

from aiohttp import web

from metering.process.service import fast_event_loop

_ANSWER: Final = b'{"accepted":1,"rejected":0,"unknown":0,"results":[]}'


async def answer(request: web.BaseRequest) -> web.Response:
    """Take the body, and say that it was taken."""
    await request.content.read()
    return web.Response(status=202, body=_ANSWER, content_type="application/json")


async def serve(port_file: Folder) -> None:
    """Until ended from outside."""
    runner = web.ServerRunner(web.Server(answer, access_log=None, auto_decompress=False))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address,) = runner.addresses
    _note(port_file, address[1])
    await asyncio.Event().wait()


def _note(file: Folder, port: int) -> None:
    file.write_text(str(port))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=fast_event_loop) as loop:
        loop.run(serve(Folder(sys.argv[1])))
