//! The headers of a record: where they are, and what they say of an event.

use crate::framing::Part;
use crate::text::{self, Text};

/// Name and value of a header.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// `count` headers from byte `at` on; None if they are not there.
pub fn headers(data: &[u8], at: usize, count: usize) -> impl Iterator<Item = Option<Header<'_>>> {
    let mut part = Part::new(data, at, data.len());
    (0..count).map(move |_| {
        let name = bytes_at(data, part.sized()?)?;
        let [value_at, size] = part.sized()?;
        let value = if size < 0 { None } else { Some(bytes_at(data, [value_at, size])?) };
        Some((name, value))
    })
}

fn bytes_at(data: &[u8], [at, size]: [i32; 2]) -> Option<&[u8]> {
    data.get(usize::try_from(at).ok()?..)?.get(..usize::try_from(size).ok()?)
}

/// The attributes of a CloudEvent in binary mode.
#[derive(Clone, Copy, Default)]
pub struct Attributes<'a> {
    pub id: Option<Text<'a>>,
    pub source: Option<Text<'a>>,
    pub kind: Option<Text<'a>>,
    pub time: Option<Text<'a>>,
    pub subject: Option<&'a [u8]>,
    has_version: bool,
}

/// Identities of a batch that are not in its value.
const LOOKED_UP: &[u8] = b"looked-up-ids";

const JSON_TYPES: [&[u8]; 3] = [b"application/json", b"application/cloudevents+json", b"text/json"];

/// What the headers say: nothing of the event (`Some(None)`), its attributes, or what is not read here.
pub fn attributes(data: &[u8], at: usize, count: usize) -> Option<Option<Attributes<'_>>> {
    let mut found = Attributes::default();
    let mut has_any = false;
    for header in headers(data, at, count) {
        let (name, value) = header?;
        if !name.is_ascii() {
            return None;
        }
        if let Some((prefix, attribute)) = name.split_at_checked(3)
            && (prefix.eq_ignore_ascii_case(b"ce_") || prefix.eq_ignore_ascii_case(b"ce-"))
        {
            has_any = true;
            found.add(attribute, value?)?;
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value?;
            let kind = kind.is_ascii().then(|| kind.split(|&byte| byte == b';').next())??;
            if !JSON_TYPES.iter().any(|json| kind.trim_ascii().eq_ignore_ascii_case(json)) {
                return None;
            }
        } else if name == LOOKED_UP
            || name.eq_ignore_ascii_case(b"content-encoding")
            || name.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case(b"taximeter-"))
        {
            return None;
        }
    }
    if has_any && !found.has_version {
        return None;
    }
    Some(has_any.then_some(found))
}

impl<'a> Attributes<'a> {
    /// None: it is not read here, or is there twice.
    fn add(&mut self, name: &[u8], value: &'a [u8]) -> Option<()> {
        let place = match name.to_ascii_lowercase().as_slice() {
            b"id" => &mut self.id,
            b"source" => &mut self.source,
            b"type" => &mut self.kind,
            b"time" => &mut self.time,
            b"subject" => {
                std::str::from_utf8(value).ok()?;
                return self.subject.replace(value).is_none().then_some(());
            }
            b"specversion" => {
                let is_new = !std::mem::replace(&mut self.has_version, true);
                return (is_new && value == b"1.0").then_some(());
            }
            _ => return std::str::from_utf8(value).ok().map(|_| ()),
        };
        place.replace(text::unescaped(value)?).is_none().then_some(())
    }
}
