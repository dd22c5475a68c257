"""What waits to be billed and needs no plan: a reporter or an aggregator that was away catches up by itself."""

import argparse

from taximeter_emitter.clock import SystemClock

from audit.positions import Positions
from taximeter.connection import kafka_settings
from taximeter.exit_codes import OK, PENDING
from taximeter.replay_plans.account_periods import account_periods
from taximeter.stripe_commands.running import print_json


async def tell_waiting(arguments: argparse.Namespace) -> int:
    """Exit code 0 when nothing waits, 5 when something is on its way."""
    positions = Positions(kafka_settings(arguments), SystemClock())
    try:
        found = await positions.read()
    finally:
        await positions.close()
    account = await account_periods(arguments, SystemClock())
    uncounted = sum(each.uncounted for each in found)
    rows = sum(each.uncovered_rows for each in found)
    unsent = sum(each.open_meter_events for each in found)
    stopped = [each.partition for each in found if each.problem or each.unread]
    seconds = (rows + unsent) / account.events_per_second
    if arguments.json:
        about = {"uncounted_records": uncounted, "uncovered_rows": rows, "open_meter_events": unsent, "seconds_to_send": round(seconds, 1)}
        print_json({"schema": "taximeter.waiting/1", **about, "partitions_with_problems": stopped})
    else:
        print("Nothing to plan: what was not counted or not reported yet waits in Kafka and needs no plan.")
        print(f"  {uncounted:,} records wait for the aggregator, {rows:,} sums for the reporter, {unsent:,} meter events for Stripe")
        print(f"  at most {seconds / 60:,.1f} min of sending at {account.events_per_second:,}/s, once a reporter runs; under backlog sums are merged")
        if stopped:
            print(f"  partitions {', '.join(map(str, stopped))} could not be read whole: see taximeter status")
        print("To change what was counted, say --count, --take-out or --move-to; see taximeter replay plan --help")
    return PENDING if uncounted or rows or unsent else OK
