"""The process `taximeter`: from here on, Ctrl-C and a reader of its output that went away end it without a traceback."""

# Nothing else: until `main` runs, Ctrl-C is Python's, which shows a traceback.
import os
import signal
import sys


def main() -> int:
    """Run the command that the process's arguments name; returns the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Around a command there is nothing to clean up, and an exception could come out of any import as a different one.
        # 130 is INTERRUPTED of exit_codes, which is not imported yet.
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))
    from taximeter.cli import run_process  # noqa: PLC0415  # not before Ctrl-C is handled

    return run_process()


if __name__ == "__main__":
    sys.exit(main())
