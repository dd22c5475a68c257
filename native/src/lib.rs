//! Reads usage events out of what a Kafka broker sent, as columns. It decides nothing: what it does not read as the plain way in Python
//! would, it leaves to that way.

pub mod batch;
pub mod event;
pub mod framing;
pub mod headers;
pub mod json;
pub mod limits;
pub mod reader;
pub mod rows;
pub mod series;
pub mod text;
pub mod time;

#[cfg(feature = "python")]
mod python;
