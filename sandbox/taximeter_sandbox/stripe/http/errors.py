"""Refusals, as Stripe words them.

ApiError carries the whole answer: status, body fields, headers, whether an idempotency key keeps it (`stored`), and the
name under which it is counted (`outcome`).
"""

import orjson

INVALID_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """A request that is answered with an error of Stripe's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        outcome: str,
        kind: str = INVALID_REQUEST,
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        stored: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.outcome = outcome
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = headers
        self.stored = stored

    def body(self) -> bytes:
        """The JSON body; `code` and `param` only when there is one."""
        error: dict[str, str] = {"message": self.message, "type": self.kind}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = "https://docs.stripe.com/error-codes#" + self.code.replace("_", "-")
        if self.param is not None:
            error["param"] = self.param
        return orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2)

    def v2_body(self) -> bytes:
        """The JSON body of `/v2/...`: always a `code`; a `type` only where v2 has that type, which v1's general ones are not."""
        error: dict[str, str] = {"code": self.code or self.outcome.partition(":")[0], "message": self.message}
        if self.code == "rate_limit":
            error["type"] = "rate_limit"
        elif self.kind not in (INVALID_REQUEST, "api_error"):
            error["type"] = self.kind
        return orjson.dumps({"error": error})


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A parameter that fails validation: 400, never kept under an idempotency key."""
    return ApiError(400, message, outcome="invalid_parameter", param=param, code=code)


def missing_parameter(name: str) -> ApiError:
    """A required parameter is absent."""
    return invalid(f"Missing required param: {name}.", name, "parameter_missing")


def unknown_parameters(names: list[str]) -> ApiError:
    """Parameters that the endpoint does not have."""
    plural = "s" if len(names) > 1 else ""
    return invalid(f"Received unknown parameter{plural}: {', '.join(names)}", names[0], "parameter_unknown")


def no_such(noun: str, identity: str, param: str = "id", status: int = 404) -> ApiError:
    """An object that does not exist. `status` is 404 for the object addressed and 400 for one referred to."""
    return ApiError(status, f"No such {noun}: '{identity}'", outcome="resource_missing", param=param, code="resource_missing", stored=True)


def refused(message: str, *, outcome: str, code: str | None = None, param: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> ApiError:
    """A valid request that the endpoint, having started, will not carry out: 400, kept under its idempotency key."""
    return ApiError(400, message, outcome=outcome, code=code, param=param, headers=headers, stored=True)


def rate_limited(reason: str) -> ApiError:
    """429 by a limiter; `reason` goes into Stripe-Rate-Limited-Reason."""
    return ApiError(
        429,
        "Request rate limit exceeded. Learn more about rate limits here https://docs.stripe.com/rate-limits.",
        outcome=f"rate_limited:{reason}",
        code="rate_limit",
        headers=(("Stripe-Rate-Limited-Reason", reason),),
    )


def lock_timeout() -> ApiError:
    """429 that is not a limiter's: the object is locked. No Stripe-Rate-Limited-Reason."""
    return ApiError(
        429,
        "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. "
        "If you see this error intermittently, retry the request.",
        outcome="lock_timeout",
        code="lock_timeout",
        headers=(("Stripe-Should-Retry", "true"),),
    )


def concurrent_events() -> ApiError:
    """409: another meter event of this customer and meter is in flight."""
    return ApiError(
        409,
        "Cannot create multiple usage events for the same customer, meter concurrently.",
        outcome="too_many_concurrent_requests",
        code="too_many_concurrent_requests",
    )


def server_error(*, stored: bool) -> ApiError:
    """500; `stored` when an idempotency key keeps it, as Stripe does once an endpoint has started."""
    return ApiError(500, "An unknown error occurred.", outcome="server_error", kind="api_error", stored=stored)


def no_api_key() -> ApiError:
    """401 without credentials."""
    return ApiError(
        401,
        "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth "
        "(e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        outcome="unauthorised",
        headers=(("WWW-Authenticate", 'Basic realm="Stripe"'),),
    )


def invalid_api_key(masked: str) -> ApiError:
    """401 for a key that Stripe does not know."""
    return ApiError(401, f"Invalid API Key provided: {masked}", outcome="unauthorised", headers=(("WWW-Authenticate", 'Basic realm="Stripe"'),))


def revoked_api_key(masked: str) -> ApiError:
    """401 for a key that was valid once."""
    return ApiError(
        401,
        f"Expired API Key provided: {masked}",
        outcome="unauthorised",
        code="api_key_expired",
        headers=(("WWW-Authenticate", 'Basic realm="Stripe"'),),
    )


def forbidden(masked: str, permission: str) -> ApiError:
    """403 for a restricted key without the permission that the endpoint needs."""
    return ApiError(
        403,
        f"The provided key '{masked}' does not have the required permissions for this endpoint. "
        f"Having the '{permission}' permission would allow this request to continue.",
        outcome="forbidden",
    )
