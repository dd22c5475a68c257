//! Times of RFC 3339.

const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const CHARS_MIN: usize = 20;
const CHARS_MAX: usize = 40;
/// A second may have more decimals; those behind the millisecond are cut off.
const DECIMALS: usize = 3;

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))
}

/// Milliseconds since the epoch of `2026-01-31T23:59:59.123Z` and its like. None for what is no such time or before 1970, and for leap seconds.
pub fn time_ms(text: &[u8]) -> Option<i64> {
    if !(CHARS_MIN..=CHARS_MAX).contains(&text.len()) {
        return None;
    }
    let (&[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', n0, n1, b':', s0, s1], rest) =
        text.split_first_chunk::<19>()?
    else {
        return None;
    };
    let (year, month, day) = (digits(&[y0, y1, y2, y3])?, digits(&[m0, m1])?, digits(&[d0, d1])?);
    let (hour, minute, second) = (digits(&[h0, h1])?, digits(&[n0, n1])?, digits(&[s0, s1])?);
    let (ms, zone) = fraction(rest)?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = DAYS.get(month.checked_sub(1)? as usize)? + u32::from(month == 2 && leap);
    if year < 1 || day < 1 || day > days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days by the civil calendar, in years that begin in March.
    let from_march = year - u32::from(month <= 2);
    let (era, of_era) = (from_march / 400, from_march % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = i64::from(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719_468;
    let minutes = (days * 24 + i64::from(hour)) * 60 + i64::from(minute) - zone_minutes(zone)?;
    let time_ms = minutes * 60_000 + i64::from(second * 1_000 + ms);
    (time_ms >= 0).then_some(time_ms)
}

/// The milliseconds, and the zone that follows them.
#[inline]
fn fraction(rest: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.', decimals @ ..] = rest else { return Some((0, rest)) };
    let count = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (decimals, zone) = decimals.split_at_checked(count)?;
    let kept = decimals.get(..DECIMALS.min(count)).filter(|kept| !kept.is_empty())?;
    Some((digits(kept)? * 10u32.pow((DECIMALS - kept.len()) as u32), zone))
}

#[inline]
fn zone_minutes(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (digits(&[h0, h1])?, digits(&[m0, m1])?);
            let ahead = i64::from(hours * 60 + minutes);
            (hours < 24 && minutes < 60).then_some(if sign == b'+' { ahead } else { -ahead })
        }
        _ => None,
    }
}
