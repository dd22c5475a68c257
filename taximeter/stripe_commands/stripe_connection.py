"""How the commands reach Stripe: the reporter's own settings, one client, and errors in plain words."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import stripe

from metering.configuration.secrets import Redactor
from metering.process.service_command import Configuration
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client
from metering.stripe.settings import StripeSettings
from taximeter.connection import configuration_of
from taximeter.exit_codes import FAILED, PRECONDITION

COMMAND_CONNECTIONS: Final = 8


class CannotDo(Exception):
    """The command cannot be carried out; the message says why and what to do. `code` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class StripeConnection:
    """What a command works with. `client` is bounded and does not retry; `file` is the settings file as it was parsed."""

    client: stripe.StripeClient
    settings: StripeSettings
    configuration: Configuration

    @property
    def catalogue(self) -> Catalogue:
        """The meters of the settings file. Raises CannotDo when there is something wrong with them."""
        problems = catalogue_problems(self.configuration.file)
        if problems:
            raise CannotDo("; ".join(problems), PRECONDITION)
        return catalogue_of(self.configuration.file)

    @property
    def is_simulator(self) -> bool:
        """Whether this is certainly not Stripe itself."""
        return "stripe.com" not in self.settings.api_base


def run_with_stripe(arguments: argparse.Namespace, command: Callable[[StripeConnection], Coroutine[Any, Any, int]]) -> int:
    """Run a command against Stripe and return its exit code. Errors go to stderr, without any secret."""
    configuration = stripe_configuration(arguments)
    settings = configuration.of(StripeSettings)
    redact = Redactor([settings.api_key]).redact
    try:
        return asyncio.run(_connected(configuration, command))
    except CannotDo as error:
        print(f"taximeter: {redact(str(error))}", file=sys.stderr)
        return error.code
    except stripe.StripeError as error:
        print(f"taximeter: {redact(explained(error, settings))}", file=sys.stderr)
        return PRECONDITION if isinstance(error, stripe.AuthenticationError | stripe.PermissionError) else FAILED
    except (aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
        print(f"taximeter: {settings.api_base} does not answer as it should: {redact(str(error)) or type(error).__name__}", file=sys.stderr)
        return FAILED


def stripe_configuration(arguments: argparse.Namespace) -> Configuration:
    """The settings, from the environment and the settings file. Raises NotConfigured."""
    return configuration_of(arguments, {"stripe": StripeSettings})


def explained(error: stripe.StripeError, settings: StripeSettings) -> str:
    """An error of Stripe's in one line: what it says, the status and code, about which parameter, and the number to give to Stripe's support."""
    message = error.user_message or str(error) or type(error).__name__
    details = [f"HTTP {error.http_status}"] if error.http_status else []
    details += [code] if (code := code_of(error)) else []
    details += [f"parameter {error.param}"] if isinstance(error, stripe.InvalidRequestError) and error.param else []
    shown = f" ({', '.join(details)})" if details else ""
    request = f" [{error.request_id}]" if error.request_id else ""
    return f"{settings.api_base} says: {message}{shown}{request}"


def code_of(error: stripe.StripeError) -> str:
    """Stripe's code; of some errors the library keeps it in the body only. "" where there is none."""
    body = error.json_body.get("error") if isinstance(error.json_body, dict) else None
    found = error.code or (body.get("code") if isinstance(body, dict) else None)
    return found if isinstance(found, str) else ""


async def _connected(configuration: Configuration, command: Callable[[StripeConnection], Coroutine[Any, Any, int]]) -> int:
    async with connected(configuration) as connection:
        return await command(connection)


@asynccontextmanager
async def connected(configuration: Configuration) -> AsyncIterator[StripeConnection]:
    """A connection that is closed at the end."""
    settings = configuration.of(StripeSettings)
    http = StripeHttp(connections=COMMAND_CONNECTIONS, timeout_s=settings.timeout_seconds)
    client = make_client(http, api_key=settings.api_key, api_base=settings.api_base, stream_base=settings.stream_base)
    try:
        yield StripeConnection(client, settings, configuration)
    finally:
        await http.close_async()
