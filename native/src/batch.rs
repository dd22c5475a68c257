//! Batches of emitters, of both forms: their columns.

use crate::event::{Fields, field_of};
use crate::json::Scan;
use crate::limits::{
    BATCH_EVENTS_MAX, EMITTER_CHARS_MAX, KEPT_IDS_CHARS_MAX, PARTITION_MAX, QUANTITY_MAX, SEQUENCE_MAX, TIME_MS_MAX, USAGE_FIELDS_MAX,
};
use crate::reader::text_of;
use crate::rows::Rows;
use crate::series::Series;
use crate::text::{Printable, Text, Unread};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::ops::Range;

const LISTS: u64 = 1;
const PACKED: u64 = 2;
/// Bytes of a fingerprint.
const ID_BYTES: usize = 16;
/// Of the widest integer in a packed column.
const INTEGER_BYTES_MAX: usize = 8;

/// What is used again for the next batch, so that nothing is allocated for it.
#[derive(Default)]
pub struct Scratch {
    integers: Vec<u64>,
    bytes: Vec<u8>,
    usage: Vec<(usize, Column)>,
    customers: Vec<Range<u32>>,
    dimensions: Vec<Range<u32>>,
    numbers: Vec<i64>,
    used: Vec<bool>,
}

/// Integers of the scratch, and whether they were packed.
#[derive(Clone)]
struct Column {
    integers: Range<usize>,
    is_packed: bool,
}

enum Stamped {
    None,
    All,
    Some(Column),
}

pub struct Columns<'a> {
    value: &'a [u8],
    emitter: Text<'a>,
    first_seq: u64,
    count: usize,
    base_time: u64,
    series_customers: Option<Column>,
    series_dimensions: Column,
    at: Column,
    time: Column,
    stamped: Stamped,
    ids: Option<&'a [u8]>,
}

fn put<T>(place: &mut Option<T>, found: T) -> Option<()> {
    place.replace(found).is_none().then_some(())
}

impl Scratch {
    /// A list of integers, or a text that holds them.
    #[inline]
    fn column(&mut self, scan: &mut Scan) -> Option<Column> {
        let begin = self.integers.len();
        let is_packed = !scan.has(b'[');
        if is_packed {
            self.packed(scan.plain()?)?;
        } else {
            loop {
                self.integers.push(scan.integer(usize::MAX)?);
                if !scan.has(b',') {
                    break;
                }
            }
            scan.expect(b']')?;
        }
        let integers = begin..self.integers.len();
        (integers.len() <= BATCH_EVENTS_MAX).then_some(Column { integers, is_packed })
    }

    fn packed(&mut self, text: &[u8]) -> Option<()> {
        let (width, text) = text.split_first()?;
        if text.len() > BATCH_EVENTS_MAX * INTEGER_BYTES_MAX * 4 / 3 + 4 {
            return None;
        }
        self.bytes.clear();
        STANDARD.decode_vec(text, &mut self.bytes).ok()?;
        match width {
            b'1' => self.integers.extend(self.bytes.iter().map(|byte| u64::from(*byte))),
            b'2' => self.integers.extend(words::<2>(&self.bytes)?.iter().map(|word| u64::from(u16::from_le_bytes(*word)))),
            b'4' => self.integers.extend(words::<4>(&self.bytes)?.iter().map(|word| u64::from(u32::from_le_bytes(*word)))),
            b'8' => self.integers.extend(words::<8>(&self.bytes)?.iter().map(|word| u64::from_le_bytes(*word))),
            _ => return None,
        }
        Some(())
    }

    fn of(&self, column: &Column) -> &[u64] {
        self.integers.get(column.integers.clone()).unwrap_or_default()
    }

    /// Whether the column has this length and form, and nothing above the maximum.
    #[inline]
    fn is_right(&self, column: &Column, length: usize, is_packed: bool, max: usize) -> bool {
        column.integers.len() == length && column.is_packed == is_packed && self.of(column).iter().all(|integer| *integer <= max as u64)
    }
}

fn words<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (words, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then_some(words)
}

/// The places in `value` of the items of a list.
#[inline]
fn list<'a>(value: &[u8], scan: &mut Scan<'a>, places: &mut Vec<Range<u32>>, item: impl Fn(&mut Scan<'a>) -> Option<&'a [u8]>) -> Option<()> {
    places.clear();
    scan.expect(b'[')?;
    loop {
        let found = item(scan)?;
        let end = (value.len() - scan.0.len()) as u32;
        places.push(end - found.len() as u32..end);
        if !scan.has(b',') {
            break;
        }
    }
    scan.expect(b']')?;
    (places.len() <= BATCH_EVENTS_MAX).then_some(())
}

/// Reads a batch of this partition that has events. None: it is read the long way.
pub fn read<'a>(value: &'a [u8], fields: &Fields, partition: u64, scratch: &mut Scratch) -> Option<Columns<'a>> {
    let mut scan = Scan(value);
    let (mut form, mut emitter, mut own_partition, mut first_seq, mut count) = (None, None, None, None, None);
    let (mut base_time, mut series, mut series_customers, mut series_dimensions) = (None, None, None, None);
    let (mut at, mut time, mut stamped, mut ids, mut kept_ids) = (None, None, None, None, None);
    let (mut has_customers, mut has_dimensions, mut has_usage) = (None, None, None);
    scratch.integers.clear();
    scratch.usage.clear();
    scan.expect(b'{')?;
    loop {
        match scan.key()? {
            b"taximeter" => put(&mut form, scan.integer(PACKED as usize)?)?,
            b"emitter" => put(&mut emitter, scan.text()?)?,
            b"partition" => put(&mut own_partition, scan.integer(PARTITION_MAX)?)?,
            b"first_seq" => put(&mut first_seq, scan.integer(SEQUENCE_MAX)?)?,
            b"count" => put(&mut count, scan.integer(BATCH_EVENTS_MAX)? as usize)?,
            b"base_time" => put(&mut base_time, scan.integer(TIME_MS_MAX)?)?,
            b"series" => put(&mut series, scan.integer(BATCH_EVENTS_MAX)? as usize)?,
            b"customers" => {
                put(&mut has_customers, ())?;
                list(value, &mut scan, &mut scratch.customers, Scan::quoted)?;
            }
            b"dimensions" => {
                put(&mut has_dimensions, ())?;
                list(value, &mut scan, &mut scratch.dimensions, Scan::dimensions)?;
            }
            b"series_customers" => put(&mut series_customers, scratch.column(&mut scan)?)?,
            b"series_dimensions" => put(&mut series_dimensions, scratch.column(&mut scan)?)?,
            b"at" => put(&mut at, scratch.column(&mut scan)?)?,
            b"time" => put(&mut time, scratch.column(&mut scan)?)?,
            b"usage" => {
                put(&mut has_usage, ())?;
                usage(&mut scan, fields, scratch)?;
            }
            b"stamped" => {
                let found = match scan.0 {
                    [b't', b'r', b'u', b'e', rest @ ..] => {
                        scan.0 = rest;
                        Stamped::All
                    }
                    _ => Stamped::Some(scratch.column(&mut scan)?),
                };
                put(&mut stamped, found)?;
            }
            b"ids" => put(&mut ids, scan.plain()?)?,
            b"kept_ids" => put(&mut kept_ids, scan.plain()?.len())?,
            _ => return None,
        }
        if !scan.more()? {
            break;
        }
    }
    has_customers.and(has_dimensions).and(has_usage)?;
    let columns = Columns {
        value,
        emitter: emitter?,
        first_seq: first_seq?,
        count: count.filter(|count| *count > 0)?,
        base_time: base_time?,
        series_customers,
        series_dimensions: series_dimensions?,
        at: at?,
        time: time?,
        stamped: stamped.unwrap_or(Stamped::None),
        ids,
    };
    let right = scan.is_at_end()
        && own_partition? == partition
        && kept_ids.is_none_or(|length| length <= KEPT_IDS_CHARS_MAX)
        && are_right(&columns, form?, series, scratch)?;
    right.then_some(columns)
}

#[inline]
fn usage(scan: &mut Scan, fields: &Fields, scratch: &mut Scratch) -> Option<()> {
    let mut seen = 0u64;
    scan.expect(b'{')?;
    loop {
        let field = field_of(scan.field()?, fields)?;
        if seen >> field & 1 == 1 || scratch.usage.len() == USAGE_FIELDS_MAX {
            return None;
        }
        seen |= 1 << field;
        let column = scratch.column(scan)?;
        scratch.usage.push((field, column));
        if !scan.more()? {
            return Some(());
        }
    }
}

/// Whether all columns have the lengths and the bounds that they must have.
#[inline]
fn are_right(columns: &Columns, form: u64, series: Option<usize>, scratch: &Scratch) -> Option<bool> {
    let is_packed = form == PACKED;
    let (customers, dimensions) = (scratch.customers.len(), scratch.dimensions.len());
    let series = match form {
        LISTS if series.is_none() && columns.series_customers.is_none() => customers,
        PACKED => {
            let series = series.filter(|series| *series > 0)?;
            if !scratch.is_right(columns.series_customers.as_ref()?, series, true, customers - 1) {
                return None;
            }
            series
        }
        _ => return None,
    };
    let right = scratch.is_right(&columns.series_dimensions, series, is_packed, dimensions - 1)
        && scratch.is_right(&columns.at, columns.count, is_packed, series - 1)
        && scratch.is_right(&columns.time, columns.count, is_packed, TIME_MS_MAX)
        && scratch.usage.iter().all(|(_, column)| scratch.is_right(column, columns.count, is_packed, QUANTITY_MAX))
        && match &columns.stamped {
            Stamped::Some(column) => scratch.is_right(column, columns.count, is_packed, 1),
            _ => true,
        };
    Some(right)
}

/// Adds the events of a batch to the rows: all of them, or none.
pub fn add(columns: &Columns, scratch: &mut Scratch, series: &mut Series, printable: Option<&Printable>, rows: &mut Rows) -> Result<(), Unread> {
    let emitter = text_of(columns.emitter, EMITTER_CHARS_MAX, printable)?;
    decode_ids(columns, &mut scratch.bytes).ok_or(Unread::LongWay)?;
    number_series(columns, scratch, series).ok_or(Unread::LongWay)?;
    let before = rows.len();
    let (record, count) = (rows.way.len() as i64, columns.count);
    for (field, column) in &scratch.usage {
        if let Some(out) = rows.usage.get_mut(*field) {
            out.resize(before, 0);
            out.extend(scratch.of(column).iter().map(|quantity| *quantity as i64));
        }
    }
    // Each place is below the number of series.
    rows.series.extend(scratch.of(&columns.at).iter().map(|place| scratch.numbers[*place as usize]));
    let base = columns.base_time;
    rows.times.extend(scratch.of(&columns.time).iter().map(|time| (base + time) as i64));
    match &columns.stamped {
        Stamped::None => rows.stamped.resize(before + count, false),
        Stamped::All => rows.stamped.resize(before + count, true),
        Stamped::Some(column) => rows.stamped.extend(scratch.of(column).iter().map(|stamped| *stamped == 1)),
    }
    if columns.ids.is_some() {
        let (halves, _) = scratch.bytes.as_chunks::<8>();
        let (pairs, _) = halves.as_chunks::<2>();
        rows.fingerprints.extend(pairs.iter().map(|[low, high]| [u64::from_le_bytes(*low), u64::from_le_bytes(*high)]));
    } else {
        rows.fingerprints.resize(before + count, [0; 2]);
    }
    rows.records.resize(before + count, record);
    rows.new_series.extend(scratch.numbers.iter().filter(|number| **number < 0).map(|number| (record, *number)));
    rows.batches.records.push(record);
    rows.batches.emitters.push(emitter);
    rows.batches.firsts.push(columns.first_seq as i64);
    rows.batches.counts.push(count as i64);
    Ok(())
}

fn decode_ids(columns: &Columns, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.clear();
    let Some(ids) = columns.ids else { return Some(()) };
    let size = columns.count * ID_BYTES;
    if ids.len() != size.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode_vec(ids, bytes).ok()?;
    (bytes.len() == size).then_some(())
}

/// The numbers of the series. None: one is too long, or some customer or dimensions belong to none, so that nobody would check them.
#[inline]
fn number_series(columns: &Columns, scratch: &mut Scratch, series: &mut Series) -> Option<()> {
    let value = columns.value;
    let text = |place: &Range<u32>| value.get(place.start as usize..place.end as usize);
    let of_dimensions = scratch.integers.get(columns.series_dimensions.integers.clone())?;
    let of_customers = match &columns.series_customers {
        Some(column) => Some(scratch.integers.get(column.integers.clone())?),
        None => None,
    };
    let customers = scratch.customers.len();
    scratch.used.clear();
    scratch.used.resize(customers + scratch.dimensions.len(), false);
    scratch.numbers.clear();
    for (place, dimensions) in of_dimensions.iter().enumerate() {
        let customer = match of_customers {
            Some(of_customers) => *of_customers.get(place)? as usize,
            None => place,
        };
        let dimensions = *dimensions as usize;
        *scratch.used.get_mut(customer)? = true;
        *scratch.used.get_mut(customers + dimensions)? = true;
        scratch.numbers.push(series.find(text(scratch.customers.get(customer)?)?, text(scratch.dimensions.get(dimensions)?)?)?);
    }
    scratch.used.iter().all(|used| *used).then_some(())
}
