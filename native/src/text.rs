//! The texts of an event: what stands for what, and what Python calls printable.

/// A text, and how its bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    pub raw: &'a [u8],
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Printable ASCII, which stands for itself.
    Plain,
    /// UTF-8, to be checked, without escapes.
    Utf8,
    /// JSON with escapes, to be checked.
    Escaped,
}

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The event is read the long way.
    LongWay,
    /// It must be known which characters are printable.
    NeedsPrintable,
}

/// Text that was never JSON, if it is UTF-8.
pub fn unescaped(raw: &[u8]) -> Option<Text<'_>> {
    if raw.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Some(Text { raw, form: Form::Plain });
    }
    std::str::from_utf8(raw).ok()?;
    Some(Text { raw, form: Form::Utf8 })
}

/// Adds the UTF-8 of the text. None: it is none, or an escape is wrong.
pub fn decode(text: Text, out: &mut Vec<u8>) -> Option<()> {
    match text.form {
        Form::Plain => out.extend_from_slice(text.raw),
        Form::Utf8 => out.extend_from_slice(std::str::from_utf8(text.raw).ok()?.as_bytes()),
        Form::Escaped => unescape(std::str::from_utf8(text.raw).ok()?, out)?,
    }
    Some(())
}

fn unescape(mut rest: &str, out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.get(at + 1..)?;
        let (char, after) = match escape.as_bytes().first()? {
            b'u' => unicode(escape.get(1..)?)?,
            &short => {
                let char = match short {
                    b'"' | b'\\' | b'/' => short,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return None,
                };
                (char::from(char), escape.get(1..)?)
            }
        };
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(())
}

/// The character whose four digits come next, or whose surrogates do.
fn unicode(rest: &str) -> Option<(char, &str)> {
    let (high, after) = (hexadecimal(rest.get(..4)?)?, rest.get(4..)?);
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, after));
    }
    let low = after.strip_prefix("\\u")?;
    let (low, after) = (hexadecimal(low.get(..4)?)?, low.get(4..)?);
    let offset = low.checked_sub(0xdc00).filter(|offset| *offset < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + offset)?, after))
}

fn hexadecimal(digits: &str) -> Option<u32> {
    digits.bytes().try_fold(0, |value, digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// Which characters can be printed, as the places where that changes.
pub struct Printable(Vec<u32>);

impl Printable {
    /// Of a bit for each code point, the lowest first.
    pub fn from_bits(bits: &[u8]) -> Self {
        let mut changes = Vec::new();
        let mut before = false;
        for (place, byte) in bits.iter().enumerate() {
            for bit in 0..8 {
                let now = byte >> bit & 1 == 1;
                if now != before {
                    changes.push(place as u32 * 8 + bit);
                    before = now;
                }
            }
        }
        changes.push(if before { bits.len() as u32 * 8 } else { u32::MAX });
        Self(changes)
    }

    fn has(&self, char: char) -> bool {
        self.0.partition_point(|change| *change <= u32::from(char)) % 2 == 1
    }
}

/// Adds the UTF-8 of a text of 1 to `chars_max` characters, all of them printable.
#[inline]
pub fn add_printable(text: Text, chars_max: usize, printable: Option<&Printable>, out: &mut Vec<u8>) -> Result<(), Unread> {
    if text.form == Form::Plain {
        if !(1..=chars_max).contains(&text.raw.len()) {
            return Err(Unread::LongWay);
        }
        out.extend_from_slice(text.raw);
        return Ok(());
    }
    add_unusual(text, chars_max, printable, out)
}

#[cold]
fn add_unusual(text: Text, chars_max: usize, printable: Option<&Printable>, out: &mut Vec<u8>) -> Result<(), Unread> {
    let begin = out.len();
    decode(text, out).ok_or(Unread::LongWay)?;
    let decoded = std::str::from_utf8(&out[begin..]).map_err(|_| Unread::LongWay)?;
    let chars = decoded.chars().take(chars_max + 1).count();
    if !(1..=chars_max).contains(&chars) || decoded.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(Unread::LongWay);
    }
    if decoded.is_ascii() {
        return Ok(());
    }
    let printable = printable.ok_or(Unread::NeedsPrintable)?;
    if decoded.chars().all(|char| char.is_ascii() || printable.has(char)) { Ok(()) } else { Err(Unread::LongWay) }
}
