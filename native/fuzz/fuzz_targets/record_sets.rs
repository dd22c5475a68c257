//! Whatever a broker sends is read without a panic, and what was framed lies inside of it. `tests/properties.rs` tries the same in every run of the tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taximeter_native::framing::{Framed, frame, frame_batch};
use taximeter_native::reader::Reader;
use taximeter_native::rows::Rows;
use taximeter_native::text::Printable;

fn read(data: &[u8], framed: &Framed) {
    let mut reader = Reader::new(0, vec![Some(Box::from(b"input_tokens".as_slice())), None]);
    reader.printable = Some(Printable::from_bits(&[0xff; 0x11_0000 / 8]));
    let mut rows = Rows::new(2);
    assert!(reader.read(data, &framed.timestamps, &framed.places, &mut rows));
    let new = std::mem::take(&mut reader.series.new);
    let numbers = vec![5; new.pairs.len()];
    rows.resolve(&numbers);
    assert_eq!(rows.way.len(), framed.offsets.len());
}

fuzz_target!(|data: &[u8]| {
    read(data, &frame(data, 0, 0));
    read(data, &frame_batch(data, 0));
});
