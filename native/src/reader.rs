//! What the records of a partition say, as rows.

use crate::batch::{self, Scratch};
use crate::event::{self, Event, Fields, Quantities};
use crate::headers;
use crate::limits::{EVENT_ID_CHARS_MAX, EVENT_VALUE_BYTES_MAX, SOURCE_CHARS_MAX, TYPED_BYTES_MAX};
use crate::rows::{BATCH, LONG_WAY, Rows, SINGLE};
use crate::series::Series;
use crate::text::{Printable, Text, Unread, add_printable, decode};
use crate::time::time_ms;

/// Key, value and headers of a record, as `framing` says where they are.
pub type Place = [i32; 6];

pub struct Reader {
    pub(crate) partition: u64,
    pub(crate) fields: Fields,
    pub series: Series,
    pub printable: Option<Printable>,
    scratch: Scratch,
    quantities: Quantities,
}

impl Reader {
    pub fn new(partition: u64, fields: Fields) -> Self {
        Self { partition, fields, series: Series::default(), printable: None, scratch: Scratch::default(), quantities: Quantities::new() }
    }

    /// Reads the records that `rows` has none of yet. False: it must first be known what is printable; then it goes on from there.
    pub fn read(&mut self, data: &[u8], timestamps: &[i64], places: &[Place], rows: &mut Rows) -> bool {
        let from = rows.way.len();
        for (place, &timestamp) in places.iter().zip(timestamps).skip(from) {
            match self.record(data, timestamp, place, rows) {
                Ok(way) => rows.way.push(way),
                Err(Unread::LongWay) => rows.way.push(LONG_WAY),
                Err(Unread::NeedsPrintable) => return false,
            }
            rows.digest_many();
        }
        rows.digest();
        true
    }

    #[inline]
    fn record(&mut self, data: &[u8], timestamp: i64, place: &Place, rows: &mut Rows) -> Result<i8, Unread> {
        let &[_, _, value_at, value_size, headers_at, headers_count] = place;
        let value = bytes(data, value_at, value_size).filter(|value| value.len() <= EVENT_VALUE_BYTES_MAX).ok_or(Unread::LongWay)?;
        if headers_count != 0 {
            let (at, count) = (usize::try_from(headers_at), usize::try_from(headers_count));
            let (Ok(at), Ok(count)) = (at, count) else { return Err(Unread::LongWay) };
            if let Some(attributes) = headers::attributes(data, at, count).ok_or(Unread::LongWay)? {
                check_size(value)?;
                let event = event::binary(value, &attributes, &self.fields, &mut self.quantities).ok_or(Unread::LongWay)?;
                return self.single(&event, timestamp, rows);
            }
        }
        if value.starts_with(b"{\"taximeter\"") {
            return self.batch(value, rows);
        }
        match event::read(value, &self.fields, &mut self.quantities) {
            Some(event) => {
                check_size(value)?;
                self.single(&event, timestamp, rows)
            }
            None => self.batch(value, rows), // its first field may be another
        }
    }

    #[inline]
    fn batch(&mut self, value: &[u8], rows: &mut Rows) -> Result<i8, Unread> {
        let columns = batch::read(value, &self.fields, self.partition, &mut self.scratch).ok_or(Unread::LongWay)?;
        batch::add(&columns, &mut self.scratch, &mut self.series, self.printable.as_ref(), rows)?;
        Ok(BATCH)
    }

    #[inline]
    fn single(&mut self, event: &Event, timestamp: i64, rows: &mut Rows) -> Result<i8, Unread> {
        let time = match event.time {
            Some(text) => time_ms(text).ok_or(Unread::LongWay)?,
            None => timestamp,
        };
        if event.kind.is_some() {
            self.check_unusual(event)?;
        }
        let begin = rows.digested_end();
        rows.digested.truncate(begin); // what an event left that was not read
        rows.digested.extend_from_slice(&[0; 4]);
        if let Some(source) = event.source {
            add_printable(source, SOURCE_CHARS_MAX, self.printable.as_ref(), &mut rows.digested)?;
            let size = (rows.digested.len() - begin - 4) as u32;
            if let Some(prefix) = rows.digested.get_mut(begin..begin + 4) {
                prefix.copy_from_slice(&size.to_be_bytes());
            }
        }
        add_printable(event.id, EVENT_ID_CHARS_MAX, self.printable.as_ref(), &mut rows.digested)?;
        let series = if event.is_quoted {
            self.series.find(event.customer, event.dimensions)
        } else {
            self.series.find(&quoted(event.customer)?, event.dimensions)
        };
        let series = series.ok_or(Unread::LongWay)?;
        rows.will_digest();
        let row = rows.len();
        for &(field, quantity) in &self.quantities {
            if let Some(column) = rows.usage.get_mut(field) {
                column.resize(row, 0);
                column.push(quantity);
            }
        }
        rows.records.push(rows.way.len() as i64);
        rows.series.push(series);
        rows.times.push(time);
        rows.stamped.push(false);
        rows.fingerprints.push([0; 2]);
        Ok(SINGLE)
    }

    /// The texts of a CloudEvent that are not used, but must be right.
    fn check_unusual(&mut self, event: &Event) -> Result<(), Unread> {
        let mut unused = Vec::new();
        if let Some(kind) = event.kind {
            add_printable(kind, EVENT_ID_CHARS_MAX, self.printable.as_ref(), &mut unused)?;
        }
        for &text in &event.checked {
            unused.clear();
            decode(text, &mut unused).ok_or(Unread::LongWay)?;
        }
        Ok(())
    }
}

fn bytes(data: &[u8], at: i32, size: i32) -> Option<&[u8]> {
    data.get(usize::try_from(at).ok()?..)?.get(..usize::try_from(size).ok()?)
}

fn check_size(value: &[u8]) -> Result<(), Unread> {
    if value.len() <= TYPED_BYTES_MAX { Ok(()) } else { Err(Unread::LongWay) }
}

/// The JSON text of a subject from a header, which is UTF-8.
fn quoted(subject: &[u8]) -> Result<Vec<u8>, Unread> {
    if subject.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        return Err(Unread::LongWay);
    }
    Ok([b"\"", subject, b"\""].concat())
}

pub(crate) fn text_of(text: Text, chars_max: usize, printable: Option<&Printable>) -> Result<String, Unread> {
    let mut decoded = Vec::with_capacity(text.raw.len());
    add_printable(text, chars_max, printable, &mut decoded)?;
    String::from_utf8(decoded).map_err(|_| Unread::LongWay)
}
