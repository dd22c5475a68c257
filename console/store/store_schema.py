"""The tables. A change of them raises STORE_SCHEMA: a store of another schema is built again from the log."""

from typing import Final

STORE_SCHEMA: Final = 1

AMOUNTS: Final = ("counted", "adjusted", "events", "planned", "open", "told", "doubt", "refused")
"""The columns of `hours` and `days`, as UsageAmounts has them."""

ALL_CUSTOMERS: Final = 0
"""The number under which `hours` and `days` have the sums over all customers. No name has it."""

_COLUMNS: Final = ", ".join(f"{name} INTEGER NOT NULL" for name in AMOUNTS)

TABLES: Final = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE names (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name)) STRICT;
CREATE TABLE hours (
  customer INTEGER NOT NULL, hour INTEGER NOT NULL, meter INTEGER NOT NULL, dimensions INTEGER NOT NULL, {_COLUMNS},
  PRIMARY KEY (customer, hour, meter, dimensions)
) STRICT, WITHOUT ROWID;
CREATE TABLE days (
  customer INTEGER NOT NULL, day INTEGER NOT NULL, meter INTEGER NOT NULL, dimensions INTEGER NOT NULL, {_COLUMNS},
  PRIMARY KEY (customer, meter, day, dimensions)
) STRICT, WITHOUT ROWID;
CREATE TABLE outcomes (
  day INTEGER NOT NULL, outcome TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (day, outcome)
) STRICT, WITHOUT ROWID;
CREATE TABLE places (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, log_time_ms INTEGER NOT NULL, head INTEGER NOT NULL,
  chain_end INTEGER NOT NULL, chain_id TEXT, checkpoint INTEGER NOT NULL, open INTEGER NOT NULL, unknown INTEGER NOT NULL,
  PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE plans (
  plan TEXT NOT NULL, partition INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL, kind TEXT NOT NULL, by TEXT NOT NULL,
  reason TEXT NOT NULL, at_ms INTEGER NOT NULL, units INTEGER NOT NULL, PRIMARY KEY (plan, partition, kind, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE refused (
  id INTEGER PRIMARY KEY, partition INTEGER NOT NULL, intent INTEGER NOT NULL, at INTEGER NOT NULL, customer TEXT NOT NULL, meter TEXT NOT NULL,
  time_ms INTEGER NOT NULL, value INTEGER NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL, at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX refused_of ON refused (customer, id);
CREATE TABLE letters (
  id INTEGER PRIMARY KEY, partition INTEGER NOT NULL, offset INTEGER NOT NULL, origin INTEGER NOT NULL, first INTEGER NOT NULL,
  log_time_ms INTEGER NOT NULL, reason TEXT NOT NULL, field TEXT NOT NULL, detail TEXT NOT NULL, events INTEGER NOT NULL, source TEXT NOT NULL,
  customer TEXT NOT NULL, UNIQUE (partition, origin, first, reason)
) STRICT;
CREATE TABLE intents (
  partition INTEGER NOT NULL, first INTEGER NOT NULL, second INTEGER NOT NULL, offset INTEGER NOT NULL, hour INTEGER NOT NULL,
  PRIMARY KEY (partition, first, second)
) STRICT, WITHOUT ROWID;
CREATE TABLE spoken (
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL, about TEXT NOT NULL, PRIMARY KEY (partition, offset, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE billed (customer TEXT PRIMARY KEY, billed TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE held (
  partition INTEGER NOT NULL, customer TEXT NOT NULL, meter TEXT NOT NULL, units INTEGER NOT NULL, oldest_ms INTEGER NOT NULL,
  PRIMARY KEY (partition, customer, meter)
) STRICT, WITHOUT ROWID;
"""
