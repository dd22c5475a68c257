# ruff: noqa: INP001 - a script that is mounted into a container, not part of a package
"""Make customers with short ids in the Stripe simulator, by its control API: Stripe itself gives ids of its own. May be run again."""

import argparse
import asyncio
import sys

import aiohttp

TIMEOUT_SECONDS = 10.0


async def make_customers(api_base: str, number: int) -> None:
    """Make the customers cus_1 to cus_<number>; those that are there stay. Raises ClientError, TimeoutError."""
    ids = [f"cus_{index}" for index in range(1, number + 1)]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.post(f"{api_base}/_control/customers", json={"ids": ids}) as response,
    ):
        await response.read()
    print(f"customers cus_1 to cus_{number} are there")


def main() -> int:
    """Returns the exit code: 0 all are there, 1 the simulator does not answer as it should."""
    parser = argparse.ArgumentParser(description="Make customers in the Stripe simulator.")
    parser.add_argument("--api-base", required=True, metavar="URL")
    parser.add_argument("--customers", type=int, default=100, metavar="N")
    options = parser.parse_args()
    try:
        asyncio.run(make_customers(options.api_base.rstrip("/"), options.customers))
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"customers: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
