"""Every command by name and summary. Nothing here is imported before it is named, so listing the commands costs nothing.

A command NAME of a package has its arguments in `PACKAGE.arguments:NAME`, and `PACKAGE.NAME:run` runs it.
"""

from typing import Final

from taximeter.command import SANDBOX, Command, CommandGroup

_COMMANDS: Final = "taximeter.commands"
_TRACING: Final = "taximeter.trace_commands"
_LETTERS: Final = "taximeter.dead_letter_commands"
_REFUSALS: Final = "taximeter.refusal_commands"
_STRIPE: Final = "taximeter.stripe_commands"
_METERS: Final = "taximeter.meter_commands"
_CUSTOMERS: Final = "taximeter.customer_commands"
_MOVING: Final = "taximeter.moving_commands"
_MAPPINGS: Final = "taximeter.mapping_commands"
_REPLAY: Final = "taximeter.replay_commands"


def _command(package: str, name: str, summary: str) -> Command:
    word = name.replace("-", "_")
    return Command(name, summary, f"{package}.arguments:{word}", f"{package}.{word}:run")


_TOPICS: Final = (
    Command("create", "create the topics that are missing and check the rest", f"{_COMMANDS}.arguments:topics", f"{_COMMANDS}.topics:create"),
    Command("check", "check the topics, and create none", f"{_COMMANDS}.arguments:topics", f"{_COMMANDS}.topics:check"),
    Command(
        "copy",
        "copy the topics to another cluster, each record at its offset and with its log time",
        f"{_MOVING}.arguments:topics_copy",
        f"{_MOVING}.topics_copy:run",
    ),
    Command(
        "catch-up",
        "bring over what the cluster that was left got after it was copied",
        f"{_MOVING}.arguments:topics_catch_up",
        f"{_MOVING}.topics_catch_up:run",
    ),
)

_LINKS: Final = (
    Command("link", "say who is billed for a customer from now on", f"{_CUSTOMERS}.arguments:link", f"{_CUSTOMERS}.linking:link"),
    Command("unlink", "say that nobody is", f"{_CUSTOMERS}.arguments:unlink", f"{_CUSTOMERS}.linking:unlink"),
    Command("import", "link all customers of a file", f"{_CUSTOMERS}.arguments:import_file", f"{_CUSTOMERS}.linking:import_file"),
    Command("sync", "link customers as a metadata field of Stripe's customers says", f"{_CUSTOMERS}.arguments:sync", f"{_CUSTOMERS}.syncing:run"),
    Command("list", "the links, or what waits for one", f"{_CUSTOMERS}.arguments:list_links", f"{_CUSTOMERS}.links_shown:list_links"),
    Command("show", "who is billed for a customer", f"{_CUSTOMERS}.arguments:show", f"{_CUSTOMERS}.links_shown:show"),
)

_API_KEYS: Final = (
    Command(
        "create",
        "make a key, add its digest to the file, and print the key once",
        f"{_COMMANDS}.arguments:api_keys_create",
        f"{_COMMANDS}.api_keys:create",
    ),
    Command(
        "list",
        "show the keys of a file: whose they are, and what they may do",
        f"{_COMMANDS}.arguments:api_keys_list",
        f"{_COMMANDS}.api_keys:list_all",
    ),
    Command(
        "rotate",
        "make a key that may do what another may, and print it once",
        f"{_COMMANDS}.arguments:api_keys_rotate",
        f"{_COMMANDS}.api_keys:rotate",
    ),
    Command("revoke", "take a key out of the file", f"{_COMMANDS}.arguments:api_keys_one", f"{_COMMANDS}.api_keys:revoke"),
)

_DEADLETTERS: Final = (
    Command("list", "how much was set aside, why, and of whom", f"{_LETTERS}.arguments:list_groups", f"{_LETTERS}.listing:list_groups"),
    Command("show", "the events, and what was wrong with each", f"{_LETTERS}.arguments:show", f"{_LETTERS}.listing:show"),
    Command(
        "redrive",
        "take events back, each once, edited if that is what they need",
        f"{_LETTERS}.arguments:redrive",
        f"{_LETTERS}.redrive:run",
    ),
)

_REPAIR: Final = (
    Command(
        "accept-loss",
        "accept that events of a partition are gone, so that it goes on",
        f"{_COMMANDS}.arguments:repair_accept_loss",
        f"{_COMMANDS}.repair:accept_loss",
    ),
    Command(
        "skip",
        "step over the record at which a partition stands, so that it goes on",
        f"{_COMMANDS}.arguments:repair_skip",
        f"{_COMMANDS}.repair:skip",
    ),
    Command(
        "adopt",
        "let the copy of another cluster's topics go on here, on record, and close those that are left",
        f"{_MOVING}.arguments:repair_adopt",
        f"{_MOVING}.repair_adopt:run",
    ),
)

_REPLAYS: Final = (
    _command(_REPLAY, "plan", "derive a change of what was counted, and show what it would bill"),
    _command(_REPLAY, "apply", "write a plan, each part once"),
    _command(_REPLAY, "revert", "make a plan that takes another one back"),
    _command(_REPLAY, "abandon", "let a plan that began not go on"),
    Command("list", "every plan that the log has, and how far it is", f"{_REPLAY}.arguments:list_plans", f"{_REPLAY}.plans:list_plans"),
    Command("show", "one plan, of the log or in a directory", f"{_REPLAY}.arguments:show", f"{_REPLAY}.plans:show"),
)

_MAPPING_COMMANDS: Final = (
    Command(
        "list",
        "show the presets, and which client each was checked with",
        f"{_MAPPINGS}.arguments:list_presets",
        f"{_MAPPINGS}.presets_shown:list_presets",
    ),
    Command("show", "print one preset as TOML, to be read or copied", f"{_MAPPINGS}.arguments:show", f"{_MAPPINGS}.presets_shown:show"),
    Command("try", "what a body becomes at the gateway", f"{_MAPPINGS}.arguments:mappings_try", f"{_MAPPINGS}.mappings_try:run"),
)

_METER_COMMANDS: Final = (
    Command(
        "explain",
        "what one event feeds, what is free or unknown, and what it costs",
        f"{_METERS}.arguments:explain",
        f"{_METERS}.meters_explain:run",
    ),
    Command("plan", "what the meters of the settings file would change", f"{_METERS}.arguments:plan", f"{_METERS}.publishing_meters:plan"),
    Command("apply", "publish them, from a time on", f"{_METERS}.arguments:apply", f"{_METERS}.publishing_meters:apply"),
    Command("list", "the versions that are published", f"{_METERS}.arguments:list_versions", f"{_METERS}.published_versions_shown:list_versions"),
    Command("show", "one version, with its meters", f"{_METERS}.arguments:show", f"{_METERS}.published_versions_shown:show"),
)

_SPOOL: Final = (
    Command("list", "show the spools in a directory", f"{_COMMANDS}.arguments:spool_list", f"{_COMMANDS}.spool:list_all"),
    Command("send", "send the spools of processes that ended", f"{_COMMANDS}.arguments:spool_send", f"{_COMMANDS}.spool:send"),
)

_CUSTOMER: Final = (
    Command("create", "make a customer and print its id", f"{_STRIPE}.arguments:customer_create", f"{_STRIPE}.customer:create"),
    Command("list", "show the customers, newest first", f"{_STRIPE}.arguments:customer_list", f"{_STRIPE}.customer:list_all"),
    Command("show", "show one customer", f"{_STRIPE}.arguments:customer_show", f"{_STRIPE}.customer:show"),
)

_REJECTED: Final = (
    Command("list", "meter event by meter event, and what is left to do", f"{_REFUSALS}.arguments:rejected_list", f"{_REFUSALS}.rejected:list_all"),
)

STRIPE_COMMANDS: Final = (
    _command(_STRIPE, "setup", "make the meters, and the products and prices of the settings file, at Stripe"),
    _command(_STRIPE, "doctor", "check the key, its permissions, the clock, and what Stripe has"),
    CommandGroup("customer", "create, list and show customers", _CUSTOMER),
    _command(_STRIPE, "subscribe", "bill a customer's usage by a price"),
    _command(_STRIPE, "checkout", "make a page at Stripe on which a customer subscribes"),
    _command(_STRIPE, "send-test-event", "send one meter event outside of the pipeline"),
    _command(_STRIPE, "usage", "show what Stripe's summaries have for a customer"),
    _command(_STRIPE, "errors", "show what Stripe accepted and refused later"),
    _command(_STRIPE, "listen", "show Stripe's events as they come"),
    _command(_STRIPE, "preview", "show what a customer's next invoice comes to so far"),
    _command(SANDBOX, "demo-page", "serve a page on which a customer signs up, on this machine"),
)

COMMANDS: Final = (
    _command(SANDBOX, "quickstart", "start everything on this machine, print lines to paste, and follow the bill"),
    _command(SANDBOX, "demo", "run the whole pipeline under load on this machine, and compare"),
    _command(SANDBOX, "broker", "run the embedded Kafka-protocol broker, or Apache Kafka, in the foreground"),
    CommandGroup("topics", "the topics: create, check, and copy to another cluster", _TOPICS),
    CommandGroup("api-keys", "make, list, rotate and revoke keys for those who send events to the gateway, or read the console", _API_KEYS),
    Command("doctor", "what is wrong, what waits, and what to type", f"{_COMMANDS}.arguments:doctor", "taximeter.doctor.doctor_command:run"),
    _command(_COMMANDS, "status", "show where each partition stands"),
    _command(_COMMANDS, "console", "show in a browser, and as JSON, what each customer used and what became of it"),
    CommandGroup("stripe", "everything on Stripe's side: meters, prices, customers, usage, invoices, webhooks", STRIPE_COMMANDS),
    CommandGroup("rejected", "what Stripe refused, lost or may not have", _REJECTED),
    _command(_REFUSALS, "correct", "take back, or send again, one meter event, or all that are selected"),
    _command(_COMMANDS, "corrections", "list what was taken back and sent again"),
    CommandGroup("deadletters", "what was set aside: list, show and take back", _DEADLETTERS),
    CommandGroup("repair", "let a partition go on that stopped, or a copy in another cluster", _REPAIR),
    _command("taximeter.reconcile_command", "reconcile", "compare the ledger with Stripe's summaries, by customer, meter and hour or day"),
    _command(_TRACING, "trace", "follow one event, or one meter event, through every log to Stripe's answer"),
    _command(_TRACING, "explain", "what a customer's usage of a meter is made of, down to the events"),
    _command(_COMMANDS, "export", "write tallies, the ledger or events as Parquet files by the day, each record once"),
    CommandGroup("customers", "who is billed for the customers that model servers know: link, import, list and show", _LINKS),
    CommandGroup("meters", "what the meters make of an event, and their versions: compare, publish, list and show", _METER_COMMANDS),
    CommandGroup("mappings", "what the gateway makes of other programs' records: list and show presets, try a body", _MAPPING_COMMANDS),
    CommandGroup("replay", "change what was counted, by plans that are shown first and can be taken back", _REPLAYS),
    CommandGroup("spool", "list and send what emitters left on the disk of a host", _SPOOL),
    _command(_COMMANDS, "verify", "re-read the log and prove every equation that a bill rests on"),
    _command(_COMMANDS, "completion", "print a script that completes commands and options in a shell"),
)
