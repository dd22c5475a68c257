use jiff::Timestamp;
use serde_json::{Value, json};

/// The form of docs/schemas/usage.events/single-event.schema.json.
pub fn event(prefix: &str, customer: &str, number: usize) -> Value {
    json!({
        "id": format!("{prefix}-{customer}-{number}"),
        "source": "examples/rust",
        "time": Timestamp::now().to_string(),
        "customer": customer,
        "usage": {"input_tokens": 812, "output_tokens": 164},
        "dimensions": {"model": "alpaca-7b"},
    })
}
