//! What holds for any bytes, with no Python.

use proptest::prelude::*;
use taximeter_native::event;
use taximeter_native::framing::{Framed, Status, frame, frame_batch};
use taximeter_native::reader::Reader;
use taximeter_native::rows::{LONG_WAY, Rows, SINGLE};
use taximeter_native::text::Printable;
use taximeter_native::time::time_ms;

const FIELDS: [&str; 3] = ["a", "b", "c"];

fn reader() -> Reader {
    Reader::new(0, FIELDS.iter().map(|name| Some(Box::from(name.as_bytes()))).collect())
}

/// Reads everything; every new series gets the number 5, or none.
fn read(reader: &mut Reader, data: &[u8], framed: &Framed, number: i64) -> Rows {
    let mut rows = Rows::new(FIELDS.len());
    while !reader.read(data, &framed.timestamps, &framed.places, &mut rows) {
        reader.printable = Some(Printable::from_bits(&[0xff; 0x11_0000 / 8]));
    }
    let new = std::mem::take(&mut reader.series.new);
    let numbers = vec![number; new.pairs.len()];
    rows.resolve(&numbers);
    reader.series.learn(new, &numbers);
    rows
}

fn varint(number: i64, out: &mut Vec<u8>) {
    let mut unsigned = ((number << 1) ^ (number >> 63)) as u64;
    while unsigned >= 128 {
        out.push(unsigned as u8 | 128);
        unsigned >>= 7;
    }
    out.push(unsigned as u8);
}

fn batch(base: i64, values: &[Vec<u8>]) -> Vec<u8> {
    let mut records = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let mut record = vec![0];
        varint(0, &mut record);
        varint(place as i64, &mut record);
        varint(-1, &mut record);
        varint(value.len() as i64, &mut record);
        record.extend(value);
        varint(0, &mut record);
        varint(record.len() as i64, &mut records);
        records.extend(record);
    }
    let mut checked = vec![0, 0];
    checked.extend((values.len() as i32 - 1).to_be_bytes());
    checked.extend(1_700_000_000_000i64.to_be_bytes());
    checked.extend(0i64.to_be_bytes());
    checked.extend([0; 14]);
    checked.extend((values.len() as i32).to_be_bytes());
    checked.extend(records);
    let mut out = base.to_be_bytes().to_vec();
    out.extend((checked.len() as i32 + 9).to_be_bytes());
    out.extend([0, 0, 0, 0, 2]);
    out.extend(crc32c::crc32c(&checked).to_be_bytes());
    out.extend(checked);
    out
}

/// With the checksum of the first batch put right.
fn with_checksum(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(length) = data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes)
        && let Ok(length) = usize::try_from(length)
        && let Some(checked) = data.get(21..length + 12)
    {
        let checksum = crc32c::crc32c(checked).to_be_bytes();
        data[17..21].copy_from_slice(&checksum);
    }
    data
}

fn value(id: &str, blank: &str, order: usize, quantity: u64) -> Vec<u8> {
    let mut members = [
        format!("\"id\"{blank}:{blank}\"{id}\""),
        format!("\"source\":{blank}\"s\""),
        "\"time\":\"2026-02-28T12:00:00.250Z\"".to_owned(),
        format!("\"customer\":\"c\"{blank}"),
        format!("\"usage\":{{\"b\"{blank}:{quantity}{blank}}}"),
        format!("\"dimensions\":{{{blank}\"m\":\"x\"}}"),
    ];
    members.rotate_left(order % 6);
    format!("{blank}{{{}}}{blank}", members.join(&format!("{blank},"))).into_bytes()
}

type Drawn = (String, String, usize, u64);

fn events() -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec(("[ -!#-\\[\\]-~]{1,128}", "[ \t\r\n]{0,3}", 0..6usize, 0..=1_000_000_000_000u64), 1..20)
}

fn values(events: &[Drawn]) -> Vec<Vec<u8>> {
    events.iter().map(|(id, blank, order, quantity)| value(id, blank, *order, *quantity)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_blanks_are_read(events in events()) {
        let values = values(&events);
        let data = [batch(10, &values), batch(10 + values.len() as i64, &values)].concat();
        let framed = frame(&data, 0, 10);
        prop_assert_eq!((framed.status, framed.next_at, framed.next_offset), (None, data.len(), 10 + 2 * values.len() as i64));
        let rows = read(&mut reader(), &data, &framed, 5);
        prop_assert!(rows.way.iter().all(|way| *way == SINGLE));
        for (row, (id, _, _, quantity)) in events.iter().chain(&events).enumerate() {
            prop_assert_eq!((rows.series[row], rows.times[row]), (5, 1_772_280_000_250));
            prop_assert_eq!(rows.usage[1][row], *quantity as i64);
            let text = [&[0, 0, 0, 1][..], b"s", id.as_bytes()].concat();
            let hash = blake2b_simd::Params::new().hash_length(16).hash(&text);
            prop_assert_eq!(&rows.fingerprints[row][0].to_le_bytes()[..], &hash.as_bytes()[..8]);
            prop_assert_eq!(&rows.fingerprints[row][1].to_le_bytes()[..], &hash.as_bytes()[8..]);
        }
    }

    /// What serde_json refuses, or reads otherwise, is never read here.
    #[test]
    fn damage_never_misreads(events in events(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let fields = FIELDS.iter().map(|name| Some(Box::from(name.as_bytes()))).collect();
        for mut value in values(&events) {
            for (at, byte) in &changes {
                let at = at.index(value.len());
                value[at] = *byte;
            }
            let mut quantities = Vec::new();
            if let Some(event) = event::read(&value, &fields, &mut quantities)
                && let Ok(text) = std::str::from_utf8(&value)
                && !text.contains('\\')
            {
                let json: serde_json::Value = serde_json::from_str(text).expect("read what is no JSON");
                prop_assert_eq!(json["id"].as_str().map(str::as_bytes), Some(event.id.raw));
                prop_assert_eq!(serde_json::to_vec(&json["customer"]).unwrap(), event.customer);
                prop_assert_eq!(json["usage"].as_object().unwrap().len(), quantities.len());
                for (field, quantity) in quantities {
                    prop_assert_eq!(json["usage"][FIELDS[field]].as_i64(), Some(quantity));
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_framed_inside(data in prop::collection::vec(any::<u8>(), 0..400), at in 0..500usize, from in any::<i64>()) {
        for framed in [frame(&data, at, from), frame_batch(&data, from)] {
            prop_assert!(framed.next_offset >= from);
            prop_assert!(framed.places.iter().all(|place| place.iter().all(|number| (-1..=400).contains(number))));
            read(&mut reader(), &data, &framed, 5);
        }
    }

    #[test]
    fn a_batch_is_framed_whole_or_not_at_all(
        events in events(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()
    ) {
        let values = values(&events);
        let mut data = batch(0, &values);
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        data.truncate(cut.index(data.len()) + 1);
        let data = with_checksum(data);
        let framed = frame(&data, 0, i64::MIN);
        prop_assert!(framed.next_at == 0 || framed.next_at == data.len());
        prop_assert!(framed.next_at > 0 || framed.offsets.is_empty());
        // Never more room than the bytes could need, whatever the head says.
        prop_assert!(framed.places.capacity() <= data.len() / 7 + 4);
        let rows = read(&mut reader(), &data, &framed, -1);
        prop_assert!(rows.is_empty() && rows.way.iter().all(|way| *way == LONG_WAY));
    }

    #[test]
    fn any_text_is_a_time_or_none(text in "[0-9TtZz:. +-]{0,42}") {
        prop_assert!(time_ms(text.as_bytes()).is_none_or(|ms| ms >= 0));
    }
}

#[test]
fn a_head_that_promises_much_gets_no_room() {
    let mut data = batch(0, &[b"x".to_vec()]);
    data[57..61].copy_from_slice(&250_000i32.to_be_bytes());
    let framed = frame(&with_checksum(data), 0, 0);
    assert_eq!(framed.status, Some(Status::Damaged));
    assert!(framed.places.capacity() <= 4);
}
