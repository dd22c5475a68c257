//! Single events: in our own form, and CloudEvents, structured or with their attributes in headers.

use crate::headers::Attributes;
use crate::json::Scan;
use crate::limits::{QUANTITY_MAX, USAGE_FIELDS_MAX};
use crate::text::{Form, Text};

/// Names of usage fields. One that no event can have has none.
pub type Fields = Vec<Option<Box<[u8]>>>;

/// The quantities of an event, with the places of their fields.
pub type Quantities = Vec<(usize, i64)>;

/// The texts of an event that was read. Its quantities are beside it.
pub struct Event<'a> {
    pub id: Text<'a>,
    pub source: Option<Text<'a>>,
    /// The type of a CloudEvent.
    pub kind: Option<Text<'a>>,
    pub time: Option<&'a [u8]>,
    /// With quotes, unless it is the subject of a CloudEvent with its attributes in headers.
    pub customer: &'a [u8],
    pub is_quoted: bool,
    pub dimensions: &'a [u8],
    /// Texts that say nothing of the event, of which only the JSON is to be checked.
    pub checked: Vec<Text<'a>>,
}

/// The fields of a usage event, or of the `data` of a CloudEvent.
#[derive(Default)]
struct Usage<'a> {
    customer: Option<&'a [u8]>,
    dimensions: Option<&'a [u8]>,
    has_quantities: bool,
}

const NO_DIMENSIONS: &[u8] = b"{}";

/// None twice: there is a second one of the name.
#[inline(always)]
fn put<T>(place: &mut Option<T>, found: T) -> Option<()> {
    place.replace(found).is_none().then_some(())
}

impl<'a> Usage<'a> {
    /// A field of this name. None: it is wrong, or there is no such field.
    #[inline(always)]
    fn field(&mut self, name: &[u8], scan: &mut Scan<'a>, fields: &Fields, quantities: &mut Quantities) -> Option<()> {
        match name {
            b"customer" => put(&mut self.customer, scan.quoted()?),
            b"usage" => {
                read_quantities(scan, fields, quantities)?;
                (!std::mem::replace(&mut self.has_quantities, true)).then_some(())
            }
            b"dimensions" => put(&mut self.dimensions, scan.dimensions()?),
            _ => None,
        }
    }
}

#[inline(always)]
fn read_quantities(scan: &mut Scan, fields: &Fields, quantities: &mut Quantities) -> Option<()> {
    let mut seen = 0u64;
    quantities.clear();
    scan.expect(b'{')?;
    loop {
        let field = field_of(scan.field()?, fields)?;
        if seen >> field & 1 == 1 || quantities.len() == USAGE_FIELDS_MAX {
            return None;
        }
        seen |= 1 << field;
        quantities.push((field, scan.integer(QUANTITY_MAX)? as i64));
        if !scan.more()? {
            return Some(());
        }
    }
}

/// The place of a usage field.
#[inline(always)]
pub fn field_of(name: &[u8], fields: &Fields) -> Option<usize> {
    fields.iter().position(|field| field.as_deref() == Some(name))
}

/// A value without attributes in headers. None: it is read the long way.
#[inline]
pub fn read<'a>(value: &'a [u8], fields: &Fields, quantities: &mut Quantities) -> Option<Event<'a>> {
    let mut scan = Scan(value);
    let mut usage = Usage::default();
    let (mut id, mut source, mut time) = (None, None, None);
    scan.expect(b'{')?;
    loop {
        match scan.key()? {
            b"id" => put(&mut id, scan.text()?)?,
            b"source" => put(&mut source, scan.text()?)?,
            b"time" => put(&mut time, scan.plain()?)?,
            name @ (b"customer" | b"usage" | b"dimensions") => usage.field(name, &mut scan, fields, quantities)?,
            _ => return structured(value, fields, quantities),
        }
        if !scan.more()? {
            break;
        }
    }
    let event = Event {
        id: id?,
        source,
        kind: None,
        time,
        customer: usage.customer?,
        is_quoted: true,
        dimensions: usage.dimensions.unwrap_or(NO_DIMENSIONS),
        checked: Vec::new(),
    };
    (usage.has_quantities && scan.is_at_end()).then_some(event)
}

/// A CloudEvent as one JSON value. Attributes that say nothing of usage are let through if they are strings.
fn structured<'a>(value: &'a [u8], fields: &Fields, quantities: &mut Quantities) -> Option<Event<'a>> {
    let mut scan = Scan(value);
    let (mut id, mut source, mut kind, mut time, mut version, mut subject, mut found) = (None, None, None, None, None, None, None);
    let mut checked = Vec::new();
    scan.expect(b'{')?;
    loop {
        match scan.key()? {
            b"id" => put(&mut id, scan.text()?)?,
            b"source" => put(&mut source, scan.text()?)?,
            b"type" => put(&mut kind, scan.text()?)?,
            b"time" => put(&mut time, scan.plain()?)?,
            b"specversion" => put(&mut version, scan.plain()?)?,
            b"subject" => {
                put(&mut subject, Scan(scan.0).quoted()?)?;
                check_later(scan.text()?, &mut checked);
            }
            b"data" => put(&mut found, usage_of(&mut scan, fields, quantities)?)?,
            b"data_base64" | b"taximeter" | b"customer" | b"usage" | b"dimensions" => return None,
            _ => check_later(scan.text()?, &mut checked),
        }
        if !scan.more()? {
            break;
        }
    }
    let usage = found?;
    let event = Event {
        id: id?,
        source: Some(source?),
        kind: Some(kind?),
        time,
        customer: usage.customer.or(subject)?,
        is_quoted: true,
        dimensions: usage.dimensions.unwrap_or(NO_DIMENSIONS),
        checked,
    };
    (version? == b"1.0" && usage.has_quantities && scan.is_at_end()).then_some(event)
}

fn check_later<'a>(text: Text<'a>, checked: &mut Vec<Text<'a>>) {
    if text.form != Form::Plain {
        checked.push(text);
    }
}

fn usage_of<'a>(scan: &mut Scan<'a>, fields: &Fields, quantities: &mut Quantities) -> Option<Usage<'a>> {
    let mut usage = Usage::default();
    scan.expect(b'{')?;
    loop {
        let name = scan.key()?;
        usage.field(name, scan, fields, quantities)?;
        if !scan.more()? {
            return Some(usage);
        }
    }
}

/// The value of a CloudEvent whose attributes were in headers.
pub fn binary<'a>(value: &'a [u8], attributes: &Attributes<'a>, fields: &Fields, quantities: &mut Quantities) -> Option<Event<'a>> {
    let mut scan = Scan(value);
    let usage = usage_of(&mut scan, fields, quantities)?;
    let subject = match attributes.subject {
        Some(subject) if usage.customer.is_none() => Some(subject),
        _ => None,
    };
    let event = Event {
        id: attributes.id?,
        source: Some(attributes.source?),
        kind: Some(attributes.kind?),
        time: attributes.time.map(|time| time.raw), // what is no plain text is no time
        customer: usage.customer.or(subject)?,
        is_quoted: subject.is_none(),
        dimensions: usage.dimensions.unwrap_or(NO_DIMENSIONS),
        checked: Vec::new(),
    };
    (usage.has_quantities && scan.is_at_end()).then_some(event)
}
