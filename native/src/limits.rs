//! The bounds that Python has too; a test compares them by these names.

/// Name and value of each bound, in lower case the name that Python has for it.
macro_rules! limits {
    ($($name:ident = $value:expr;)*) => {
        $(pub const $name: usize = $value;)*
        pub const ALL: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

limits! {
    BATCH_RECORDS_MAX = 250_000;
    BATCH_HEADERS_MAX = 10_000;
    EVENT_VALUE_BYTES_MAX = 4_000_000;
    PLAIN_EVENT_BYTES_MAX = 2_000;
    EVENT_ID_CHARS_MAX = 128;
    SOURCE_CHARS_MAX = 128;
    EMITTER_CHARS_MAX = 64;
    NAME_CHARS_MAX = 64;
    USAGE_FIELDS_MAX = 16;
    QUANTITY_MAX = 1_000_000_000_000;
    BATCH_EVENTS_MAX = 5_000;
    PARTITION_MAX = (1 << 31) - 1;
    SEQUENCE_MAX = 1 << 62;
    TIME_MS_MAX = 253_402_300_800_000;
    KEPT_IDS_CHARS_MAX = 1_000_000;
}

/// Of the JSON texts of a customer and its dimensions together. Longer ones are read the long way, so that what is remembered stays bounded.
pub const SERIES_BYTES_MAX: usize = 2_000;
/// Pairs of texts that are remembered. Others are asked for each time.
pub const SERIES_MAX: usize = 100_000;
/// What the masks of usage fields have bits for.
pub const CATALOGUE_FIELDS_MAX: usize = 64;
