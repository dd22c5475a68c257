//! Strict JSON, piece by piece: any blanks, but nothing that could be read in two ways.

use crate::text::{Form, Text};

/// What is left to read.
pub struct Scan<'a>(pub &'a [u8]);

impl<'a> Scan<'a> {
    #[inline(always)]
    pub fn blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    #[inline(always)]
    pub fn has(&mut self, mark: u8) -> bool {
        self.blanks();
        match self.0 {
            [first, rest @ ..] if *first == mark => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    #[inline(always)]
    pub fn expect(&mut self, mark: u8) -> Option<()> {
        self.has(mark).then_some(())
    }

    /// True: another member of the object follows. False: the object is closed.
    #[inline(always)]
    pub fn more(&mut self) -> Option<bool> {
        if self.has(b',') { Some(true) } else { self.expect(b'}').map(|()| false) }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&mut self) -> bool {
        self.blanks();
        self.0.is_empty()
    }

    /// A string. Its escapes and its UTF-8 are left to be checked; there are no control characters in it.
    #[inline(always)]
    pub fn text(&mut self) -> Option<Text<'a>> {
        self.expect(b'"')?;
        let length = plain_length(self.0);
        if let (raw, [b'"', rest @ ..]) = self.0.split_at_checked(length)? {
            self.0 = rest;
            return Some(Text { raw, form: Form::Plain });
        }
        self.unusual_text(length)
    }

    #[cold]
    fn unusual_text(&mut self, from: usize) -> Option<Text<'a>> {
        let mut form = Form::Utf8;
        let mut at = from;
        loop {
            match *self.0.get(at)? {
                b'"' => break,
                b'\\' => {
                    form = Form::Escaped;
                    at += 1;
                    if *self.0.get(at)? < 0x20 {
                        return None;
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
            at += 1;
        }
        let (raw, rest) = self.0.split_at_checked(at)?;
        self.0 = rest.get(1..)?;
        Some(Text { raw, form })
    }

    /// A string of printable ASCII without escapes.
    #[inline(always)]
    pub fn plain(&mut self) -> Option<&'a [u8]> {
        self.text().filter(|text| text.form == Form::Plain).map(|text| text.raw)
    }

    /// A string as it stands, with its quotes.
    #[inline(always)]
    pub fn quoted(&mut self) -> Option<&'a [u8]> {
        self.blanks();
        let start = self.0;
        self.text()?;
        start.get(..start.len() - self.0.len())
    }

    #[inline(always)]
    pub fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.plain()?;
        self.expect(b':')?;
        Some(key)
    }

    /// The name of a usage field. It is not escaped; whether it is UTF-8 shows when it is compared.
    #[inline(always)]
    pub fn field(&mut self) -> Option<&'a [u8]> {
        let name = self.text().filter(|text| text.form != Form::Escaped)?.raw;
        self.expect(b':')?;
        Some(name)
    }

    /// An integer from 0 to `max`, which has at most 19 digits. What follows it must be looked at: a fraction may.
    #[inline(always)]
    pub fn integer(&mut self, max: usize) -> Option<u64> {
        self.blanks();
        let mut value = 0u64;
        let mut digits = 0;
        let mut rest = self.0;
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            digits += 1;
            if digits > 19 {
                return None;
            }
            value = value * 10 + u64::from(digit - b'0');
            rest = after;
        }
        let is_written_well = digits == 1 || (digits > 1 && self.0.first() != Some(&b'0'));
        if !is_written_well || value > max as u64 {
            return None;
        }
        self.0 = rest;
        Some(value)
    }

    /// An object of strings, as it stands.
    #[inline(always)]
    pub fn dimensions(&mut self) -> Option<&'a [u8]> {
        self.blanks();
        let start = self.0;
        self.expect(b'{')?;
        if !self.has(b'}') {
            loop {
                self.text()?;
                self.expect(b':')?;
                self.text()?;
                if !self.more()? {
                    break;
                }
            }
        }
        start.get(..start.len() - self.0.len())
    }
}

/// How many of the first bytes stand for themselves in a JSON string and are printable ASCII. Eight at a time: the lowest bit set in `odd`
/// belongs to the first byte that is a quote, a backslash, below a blank or above `~`.
#[inline(always)]
fn plain_length(bytes: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (words, tail) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let x = u64::from_le_bytes(*word);
        let (quote, backslash) = (x ^ (LOW * 0x22), x ^ (LOW * 0x5c));
        let odd =
            (quote.wrapping_sub(LOW) & !quote) | (backslash.wrapping_sub(LOW) & !backslash) | x.wrapping_sub(LOW * 0x20) | x.wrapping_add(LOW) | x;
        let odd = odd & (LOW * 0x80);
        if odd != 0 {
            return place * 8 + (odd.trailing_zeros() / 8) as usize;
        }
    }
    let plain = tail.iter().take_while(|&&byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
    words.len() * 8 + plain.count()
}
