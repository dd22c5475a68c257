"""The `taximeter` command: its subcommands and what they have in common."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from taximeter.command import Command, add_commands
from taximeter.commands import api_keys, broker, correct, corrections, demo, repair, status, stripe, topics, verify
from taximeter.exit_codes import INTERRUPTED, OK, USAGE

ARGPARSE_USAGE: Final = 2


COMMANDS: Final = (
    Command("demo", "run the whole pipeline under load on this machine, and compare", demo.add_arguments, demo.run),
    Command("broker", "run the embedded Kafka-protocol broker in the foreground", broker.add_arguments, broker.run),
    Command("topics", "create or check the four topics", topics.add_arguments, topics.run),
    Command("api-keys", "make keys for those who send events to the gateway", api_keys.add_arguments, api_keys.run),
    Command("status", "show where each partition stands", status.add_arguments, status.run),
    Command("stripe", "everything on Stripe's side: meters, prices, customers, usage, invoices, webhooks", stripe.add_arguments, stripe.run),
    Command("correct", "take back, or send again, one meter event", correct.add_arguments, correct.run),
    Command("corrections", "list what was taken back and sent again", corrections.add_arguments, corrections.run),
    Command("repair", "let a partition go on that stopped because events are gone", repair.add_arguments, repair.run),
    Command("verify", "re-read the log and prove every equation that a bill rests on", verify.add_arguments, verify.run),
)

EXIT_CODES: Final = """exit codes:
  0 all is well   1 it failed   2 something does not agree   3 wrong arguments or configuration
  4 Kafka or a topic is not as it must be   5 all holds, and something is still on its way   130 interrupted"""


class _Parser(argparse.ArgumentParser):
    """argparse ends with 2 when the arguments are wrong; here 2 says that something does not agree."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(USAGE if status == ARGPARSE_USAGE else status, message)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root = _Parser(
        prog="taximeter",
        description="Usage metering from Kafka to Stripe, with a proof of every number.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_commands(root, COMMANDS, parser_class=_Parser)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and return the exit code of the process."""
    parsed = parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except KeyboardInterrupt:
        print("taximeter: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. The interpreter flushes once more when it ends: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


if __name__ == "__main__":
    sys.exit(main())
