"""An API of OpenAI and Anthropic on this host: whole answers, streams, failures, and slow ones that can be broken off."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from tests.support.emitter_model_api import chat_response, chat_stream, server_events

ANTHROPIC_USAGE = {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1}


class ApiServer(ThreadingHTTPServer):
    daemon_threads = True
    requests = 0
    failures_left = 0
    slow = False


class Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = orjson.loads(body) if self.headers["content-type"].startswith("application/json") else {}
        self.server.requests += 1
        assert "taximeter-customer" not in self.headers
        if self.server.failures_left:
            self.server.failures_left -= 1
            self.answer(500, [orjson.dumps({"error": {"message": "later"}})])
        elif self.path.endswith("/messages"):
            self.messages(asked)
        elif self.path.endswith("/responses"):
            self.model_responses(asked)
        elif self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            self.answer(200, [orjson.dumps({"object": "list", "model": "m-2", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}})])
        elif self.path.endswith("/transcriptions"):
            self.answer(200, [orjson.dumps({"text": "x", "usage": {"type": "duration", "seconds": 1.5}})])
        elif asked.get("stream"):
            self.answer(200, chat_stream(asked, "ab" * 50 if self.server.slow else "ab"), kind="text/event-stream")
        else:
            self.answer(200, [orjson.dumps(chat_response())])

    def messages(self, asked: dict[str, Any]) -> None:
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-2",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if not asked.get("stream"):
            self.answer(200, [orjson.dumps({**message, "stop_reason": "end_turn", "usage": {**ANTHROPIC_USAGE, "output_tokens": 2}})])
            return
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message, "usage": ANTHROPIC_USAGE}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
                for text in "ab" * (50 if self.server.slow else 1)
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        self.answer(200, [f"event: {event['type']}\n".encode() + server_events(event)[0] for event in events], kind="text/event-stream")

    def model_responses(self, asked: dict[str, Any]) -> None:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, **details}
        response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m-2", "status": "completed", "output": [], "tools": []}
        if not asked.get("stream"):
            self.answer(200, [orjson.dumps({**response, "usage": usage})])
            return
        delta = {"item_id": "i", "output_index": 0, "content_index": 0, "delta": "a", "logprobs": []}
        item = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        done = {**item, "status": "completed", "content": [{"type": "output_text", "text": "a", "annotations": []}]}
        part = {"type": "output_text", "text": "", "annotations": []}
        events = [
            {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress", "usage": None}},
            {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
            {"type": "response.content_part.added", "sequence_number": 2, "item_id": "i", "output_index": 0, "content_index": 0, "part": part},
            {"type": "response.output_text.delta", "sequence_number": 3, **delta},
            {"type": "response.completed", "sequence_number": 4, "response": {**response, "output": [done], "usage": usage}},
        ]
        self.answer(200, server_events(*events), kind="text/event-stream")

    def answer(self, status: int, pieces: list[bytes], *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            if self.server.slow:
                time.sleep(0.01)
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return

    def log_message(self, *_: Any) -> None:
        """Nothing of it on the screen."""


@contextmanager
def api_server() -> Iterator[ApiServer]:
    server = ApiServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def url(api: ApiServer) -> str:
    return f"http://127.0.0.1:{api.server_address[1]}/v1"
