//! Record batches of form 2, and where in them the records are.

use crate::limits::{BATCH_HEADERS_MAX, BATCH_RECORDS_MAX};

/// Offset, length, leader epoch and form.
const FRAME_BYTES: usize = 17;
const HEADER_BYTES: usize = 61;
/// The bytes that the length does not count.
const LENGTH_ENDS: usize = 12;
/// What the length counts at least.
const LENGTH_MIN: i32 = 5;
const CHECKED_FROM: usize = 21;
const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
/// In a smaller batch headers cannot take much memory, and are not counted.
const LARGE_BYTES: usize = 4 * 1024 * 1024;
/// A record has at least a length, attributes, two deltas, two lengths and the count of its headers.
const RECORD_BYTES_MIN: usize = 7;
const VARINT_BYTES: usize = 5;
const VARLONG_BYTES: usize = 10;

/// Why a batch was not framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Compressed,
    Control,
    Transactional,
    Checksum,
    Form,
    Damaged,
    TooMany,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::Control => "control",
            Self::Transactional => "transactional",
            Self::Checksum => "checksum",
            Self::Form => "form",
            Self::Damaged => "damaged",
            Self::TooMany => "too-many",
        }
    }
}

/// Bytes at a place of what was fetched, and how many there are; -1 for null. For headers: how many headers.
pub type Place = [i32; 2];

#[derive(Debug, Default)]
pub struct Framed {
    pub offsets: Vec<i64>,
    pub timestamps: Vec<i64>,
    /// Key, value and headers of each record.
    pub places: Vec<[i32; 6]>,
    pub next_at: usize,
    pub next_offset: i64,
    pub status: Option<Status>,
}

impl Framed {
    fn new(at: usize, from_offset: i64) -> Self {
        Self { next_at: at, next_offset: from_offset, ..Self::default() }
    }

    /// As it was before the batch of which these were the first rows.
    fn truncate(&mut self, rows: usize, next_offset: i64) {
        self.offsets.truncate(rows);
        self.timestamps.truncate(rows);
        self.places.truncate(rows);
        self.next_offset = next_offset;
    }
}

struct Header {
    base_offset: i64,
    last_delta: i64,
    attributes: i16,
    first_timestamp: i64,
    max_timestamp: i64,
    records: usize,
}

/// The whole batches from byte `at` on, up to the first that is not an ordinary one. `data` is shorter than 2 GiB.
pub fn frame(data: &[u8], at: usize, from_offset: i64) -> Framed {
    let mut framed = Framed::new(at, from_offset);
    loop {
        let rest = data.get(framed.next_at..).unwrap_or_default();
        let Some(length) = rest.get(..FRAME_BYTES).and_then(|frame| frame[8..].first_chunk()) else { break };
        let length = i32::from_be_bytes(*length);
        if length < LENGTH_MIN {
            framed.status = Some(Status::Damaged);
            break;
        }
        let end = framed.next_at + LENGTH_ENDS + length as usize;
        let Some(batch) = data.get(framed.next_at..end) else { break };
        let done = checked_header(batch).and_then(|header| framed.add(data, framed.next_at, end, &header));
        if let Err(status) = done {
            framed.status = Some(status);
            break;
        }
        framed.next_at = end;
    }
    framed
}

/// One batch, which is all of `data`, is in clear and was checked before. Its length, checksum, codec and transaction are not looked at.
pub fn frame_batch(data: &[u8], from_offset: i64) -> Framed {
    let mut framed = Framed::new(0, from_offset);
    match header(data).and_then(|header| framed.add(data, 0, data.len(), &header)) {
        Ok(()) => framed.next_at = data.len(),
        Err(status) => framed.status = Some(status),
    }
    framed
}

fn number<const N: usize>(batch: &[u8], at: usize) -> Result<[u8; N], Status> {
    batch.get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or(Status::Damaged)
}

fn checked_header(batch: &[u8]) -> Result<Header, Status> {
    if batch.get(FRAME_BYTES - 1) != Some(&2) {
        return Err(Status::Form);
    }
    let checksum = u32::from_be_bytes(number(batch, FRAME_BYTES)?);
    if batch.len() < HEADER_BYTES {
        return Err(Status::Damaged);
    }
    if crc32c::crc32c(&batch[CHECKED_FROM..]) != checksum {
        return Err(Status::Checksum);
    }
    let header = header(batch)?;
    if header.attributes & CONTROL != 0 {
        return Err(Status::Control);
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err(Status::Transactional);
    }
    if header.attributes & CODEC_MASK != 0 {
        return Err(Status::Compressed);
    }
    Ok(header)
}

fn header(batch: &[u8]) -> Result<Header, Status> {
    if batch.len() < HEADER_BYTES {
        return Err(Status::Damaged);
    }
    if batch[FRAME_BYTES - 1] != 2 {
        return Err(Status::Form);
    }
    let base_offset = i64::from_be_bytes(number(batch, 0)?);
    let last_delta = i32::from_be_bytes(number(batch, 23)?);
    let records = i32::from_be_bytes(number(batch, 57)?);
    if last_delta < 0 {
        return Err(Status::Damaged);
    }
    Ok(Header {
        base_offset,
        last_delta: i64::from(last_delta),
        attributes: i16::from_be_bytes(number(batch, 21)?),
        first_timestamp: i64::from_be_bytes(number(batch, 27)?),
        max_timestamp: i64::from_be_bytes(number(batch, 35)?),
        records: usize::try_from(records).map_err(|_| Status::Damaged)?,
    })
}

impl Framed {
    /// The records of the batch at `begin..end`: all of them or none.
    fn add(&mut self, data: &[u8], begin: usize, end: usize, header: &Header) -> Result<(), Status> {
        if header.records > BATCH_RECORDS_MAX {
            return Err(Status::TooMany);
        }
        let following = header.base_offset.checked_add(header.last_delta + 1).ok_or(Status::Damaged)?;
        let (rows, next_offset) = (self.offsets.len(), self.next_offset);
        // As many as the bytes can hold, whatever the header says.
        let most = header.records.min((end - begin - HEADER_BYTES) / RECORD_BYTES_MIN);
        self.offsets.reserve(most);
        self.timestamps.reserve(most);
        self.places.reserve(most);
        let mut part = Part::new(data, begin + HEADER_BYTES, end);
        let is_large = end - begin > LARGE_BYTES;
        for _ in 0..header.records {
            if let Err(status) = self.record(&mut part, header, is_large) {
                self.truncate(rows, next_offset);
                return Err(status);
            }
        }
        if !part.bytes.is_empty() {
            self.truncate(rows, next_offset);
            return Err(Status::Damaged);
        }
        self.next_offset = self.next_offset.max(following);
        Ok(())
    }

    #[inline]
    fn record(&mut self, part: &mut Part, header: &Header, is_large: bool) -> Result<(), Status> {
        let size = usize::try_from(part.varint().ok_or(Status::Damaged)?).map_err(|_| Status::Damaged)?;
        let mut record = part.take(size).ok_or(Status::Damaged)?;
        let found = record.fields().ok_or(Status::Damaged)?;
        if is_large && found.headers > BATCH_HEADERS_MAX {
            return Err(Status::TooMany);
        }
        let headers_at = record.at;
        for _ in 0..found.headers {
            if record.sized().ok_or(Status::Damaged)?[1] < 0 {
                return Err(Status::Damaged); // a header without a name
            }
            record.sized().ok_or(Status::Damaged)?;
        }
        if !record.bytes.is_empty() {
            return Err(Status::Damaged);
        }
        let timestamp = if header.attributes & LOG_APPEND_TIME == 0 {
            i64::try_from(i128::from(header.first_timestamp) + found.timestamp_delta).map_err(|_| Status::Damaged)?
        } else {
            header.max_timestamp
        };
        let offset = header.base_offset.checked_add(found.offset_delta).ok_or(Status::Damaged)?;
        let next_offset = offset.checked_add(1).ok_or(Status::Damaged)?;
        if offset < self.next_offset {
            return Ok(());
        }
        self.next_offset = next_offset;
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        let ([key_at, key], [value_at, value]) = (found.key, found.value);
        self.places.push([key_at, key, value_at, value, headers_at as i32, found.headers as i32]);
        Ok(())
    }
}

struct Fields {
    timestamp_delta: i128,
    offset_delta: i64,
    key: Place,
    value: Place,
    headers: usize,
}

/// Bytes that are left, and the place of the first of them.
pub struct Part<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Part<'a> {
    /// The bytes `begin..end` of `data`, or none.
    pub fn new(data: &'a [u8], begin: usize, end: usize) -> Self {
        Self { bytes: data.get(begin..end).unwrap_or_default(), at: begin }
    }

    #[inline(always)]
    fn take(&mut self, size: usize) -> Option<Part<'a>> {
        let (taken, rest) = self.bytes.split_at_checked(size)?;
        let part = Part { bytes: taken, at: self.at };
        self.bytes = rest;
        self.at += size;
        Some(part)
    }

    /// Seven bits a byte, of at most this many bytes, without a sign.
    #[inline(always)]
    fn unsigned<T: From<u8> + Default + std::ops::Shl<usize, Output = T> + std::ops::BitOrAssign>(&mut self, bytes_max: usize) -> Option<T> {
        let mut value = T::default();
        for (place, &byte) in self.bytes.iter().take(bytes_max).enumerate() {
            value |= T::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.bytes = self.bytes.get(place + 1..)?;
                self.at += place + 1;
                return Some(value);
            }
        }
        None
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<i64> {
        let value = self.unsigned::<u64>(VARINT_BYTES)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Up to 70 bits.
    #[inline(always)]
    fn varlong(&mut self) -> Option<i128> {
        let value = self.unsigned::<u128>(VARLONG_BYTES)?;
        Some((value >> 1) as i128 ^ -((value & 1) as i128))
    }

    /// Bytes with their length before them. A length below zero is null.
    #[inline(always)]
    pub fn sized(&mut self) -> Option<Place> {
        let size = self.varint()?;
        let at = self.at as i32;
        if size < 0 {
            return Some([at, -1]);
        }
        self.take(usize::try_from(size).ok()?)?;
        Some([at, size as i32])
    }

    #[inline(always)]
    fn fields(&mut self) -> Option<Fields> {
        self.take(1)?; // attributes: none is in use
        Some(Fields {
            timestamp_delta: self.varlong()?,
            offset_delta: self.varint()?,
            key: self.sized()?,
            value: self.sized()?,
            headers: usize::try_from(self.varint()?).ok()?,
        })
    }
}
