//! The bounds that Python has too; a test compares them by these names.

pub const BATCH_RECORDS_MAX: usize = 250_000;
pub const BATCH_HEADERS_MAX: usize = 10_000;
pub const EVENT_VALUE_BYTES_MAX: usize = 4_000_000;
pub const TYPED_BYTES_MAX: usize = 2_000;
pub const EVENT_ID_CHARS_MAX: usize = 128;
pub const SOURCE_CHARS_MAX: usize = 128;
pub const EMITTER_CHARS_MAX: usize = 64;
pub const NAME_CHARS_MAX: usize = 64;
pub const USAGE_FIELDS_MAX: usize = 16;
pub const QUANTITY_MAX: usize = 1_000_000_000_000;
pub const BATCH_EVENTS_MAX: usize = 5_000;
pub const PARTITION_MAX: usize = 2_147_483_647;
pub const SEQUENCE_MAX: usize = 4_611_686_018_427_387_904;
pub const TIME_MS_MAX: usize = 253_402_300_800_000;
pub const KEPT_IDS_CHARS_MAX: usize = 1_000_000;

/// Of the JSON texts of a customer and its dimensions together. Longer ones are read the long way, so that what is remembered stays bounded.
pub const SERIES_BYTES_MAX: usize = 2_000;
/// Pairs of texts that are remembered. Others are asked for each time.
pub const SERIES_MAX: usize = 100_000;
/// What the masks of usage fields have bits for.
pub const CATALOGUE_FIELDS_MAX: usize = 64;
