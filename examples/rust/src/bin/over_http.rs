//! Usage events from Rust to the gateway, with the client ureq: `over_http GATEWAY CUSTOMER COUNT`; the key is in TAXIMETER_API_KEY.
//!
//! 202 says that Kafka has all events. After no answer, 429 or 5xx the same request is sent again: its ids are the same, so nothing counts twice.
use std::env::{args, var};
use std::thread::sleep;
use std::time::Duration;
use taximeter_examples::event;
use ureq::Agent;

const ATTEMPTS: u32 = 8;
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

fn post(
    agent: &Agent,
    url: &str,
    key: Option<&str>,
    body: &str,
) -> Result<(u16, String), ureq::Error> {
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(key) = key {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    let mut answer = request.send(body)?;
    Ok((
        answer.status().as_u16(),
        answer.body_mut().read_to_string()?,
    ))
}

fn send(gateway: &str, key: Option<&str>, body: &str) -> Result<(), String> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(ANSWER_WITHIN))
        .http_status_as_error(false)
        .build()
        .into();
    let mut wait = Duration::from_millis(200);
    for attempt in 1.. {
        let problem = match post(&agent, &format!("{gateway}/v1/events"), key, body) {
            Ok((202, _)) => return Ok(()),
            // 207 and 400 name each event that was rejected
            Ok((status, answer)) if status < 500 && status != 429 => {
                return Err(format!("{status}: {answer}"))
            }
            Ok((status, answer)) => format!("{status}: {answer}"),
            Err(error) => error.to_string(),
        };
        if attempt == ATTEMPTS {
            return Err(format!("{problem} after {attempt} attempts"));
        }
        sleep(wait);
        wait *= 2;
    }
    unreachable!("the last attempt returns")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = args().skip(1).collect();
    let [gateway, customer, count] = arguments.as_slice() else {
        return Err("usage: over_http GATEWAY CUSTOMER COUNT".into());
    };
    let events: Vec<_> = (0..count.parse()?)
        .map(|number| event("rust-http", customer, number))
        .collect();
    send(
        gateway,
        var("TAXIMETER_API_KEY").ok().as_deref(),
        &serde_json::to_string(&events)?,
    )?;
    println!("sent {}", events.len());
    Ok(())
}
