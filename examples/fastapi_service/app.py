"""A service that answers questions with a model and meters the tokens: uvicorn app:app

KAFKA_BOOTSTRAP_SERVERS names the brokers, TAXIMETER_TOPIC the topic of events. TAXIMETER_SPOOL_DIR is a folder on a local disk,
where events wait while Kafka is away.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Header
from pydantic import BaseModel
from taximeter_emitter import Emitter


class Question(BaseModel):
    """What a client asks."""

    prompt: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One emitter for each process. Closing it sends what it still holds."""
    async with Emitter(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        topic=os.environ.get("TAXIMETER_TOPIC", "usage.events"),
        source="examples/fastapi",
        spool_dir=os.environ.get("TAXIMETER_SPOOL_DIR"),
    ) as emitter:
        app.state.emitter = emitter
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/answers")
async def answer(question: Question, customer: str = Header(alias="X-Customer")) -> dict[str, str]:
    """Answer, and say what it took. `emit` neither waits nor raises: the client never feels it."""
    text = question.prompt.upper()  # the model
    app.state.emitter.emit(
        customer=customer,
        usage={"input_tokens": len(question.prompt.split()), "output_tokens": len(text.split())},
        dimensions={"model": "alpaca-7b"},
    )
    return {"answer": text}
