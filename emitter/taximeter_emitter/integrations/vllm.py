"""The middleware as `vllm serve` starts it: without arguments, from the environment.

vllm serve MODEL --middleware taximeter_emitter.integrations.vllm.VllmMiddleware

TAXIMETER_SOURCE            names this server
TAXIMETER_URL               the gateway, with TAXIMETER_API_KEY; or
TAXIMETER_BOOTSTRAP_SERVERS Kafka's brokers, with TAXIMETER_TOPIC if it is not usage.events
TAXIMETER_SPOOL_DIR         where events wait while that cannot be reached; optional
TAXIMETER_CUSTOMER_HEADER   the header in which something in front of the server says who pays; or
TAXIMETER_CUSTOMERS_FILE    a JSON object of customers by the SHA-256 of their API keys
TAXIMETER_SPLIT             parts of tokens with fields of their own, separated by commas; optional
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from taximeter_emitter.emitter import Emitter
from taximeter_emitter.integrations.asgi import Application, CustomerOf, UsageMiddleware, by_header, by_key
from taximeter_emitter.integrations.model_calls import ModelCalls
from taximeter_emitter.integrations.usage.token_counts import Split, check_split


class VllmMiddleware(UsageMiddleware):
    """UsageMiddleware with an emitter of its own, which closes when the process ends. Raises ValueError with all that is wrong in the environment.

    A stream that a client breaks off has exact numbers only with vLLM's `--enable-force-include-usage`.
    """

    def __init__(self, app: Application) -> None:
        options, customer, split = options_of(os.environ)
        super().__init__(app, ModelCalls(Emitter(**options), split=split), customer=customer)


def options_of(environment: Mapping[str, str]) -> tuple[dict[str, Any], CustomerOf, tuple[Split, ...]]:
    """The emitter's options, who pays, and the split. Raises ValueError with all problems at once."""
    given = {name.removeprefix("TAXIMETER_").lower(): value for name, value in environment.items() if name.startswith("TAXIMETER_") and value}
    problems = []
    if "source" not in given:
        problems.append("TAXIMETER_SOURCE is missing: it names this server")
    if ("url" in given) == ("bootstrap_servers" in given):
        problems.append("one of TAXIMETER_URL, with TAXIMETER_API_KEY, and TAXIMETER_BOOTSTRAP_SERVERS says where events go")
    if ("customer_header" in given) == ("customers_file" in given):
        problems.append("one of TAXIMETER_CUSTOMER_HEADER and TAXIMETER_CUSTOMERS_FILE says who pays")
    customer: CustomerOf = by_header(given.get("customer_header", ""))
    if "customers_file" in given:
        try:
            customer = by_key(_customers(Path(given["customers_file"])))
        except (OSError, ValueError) as error:
            problems.append(f"TAXIMETER_CUSTOMERS_FILE: {error}")
    split: tuple[Split, ...] = ()
    try:
        split = check_split([name.strip() for name in given.get("split", "").split(",") if name.strip()])
    except ValueError as error:
        problems.append(f"TAXIMETER_SPLIT: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return {name: given[name] for name in ("source", "url", "api_key", "bootstrap_servers", "topic", "spool_dir") if name in given}, customer, split


def _customers(path: Path) -> dict[str, str]:
    customers = orjson.loads(path.read_bytes())
    digits = set("0123456789abcdef")
    if not isinstance(customers, dict) or not all(
        len(key) == 64 and digits.issuperset(key) and isinstance(value, str) and value for key, value in customers.items()
    ):
        raise ValueError("it is a JSON object of customers, each under the SHA-256 of a key in 64 lower-case hexadecimal digits")
    return customers
