//! Single usage events from Rust, with the client rdkafka: `single_events BROKERS TOPIC CUSTOMER COUNT`.
//!
//! The key of a record is the customer. The partitioner must be named: librdkafka's default is not Kafka's own, which decides where a customer
//! is counted. A record counts as sent when all in-sync replicas have it. Repeat an event under the same id as often as you like: it counts once.
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{types::RDKafkaErrorCode, ClientContext};
use std::env::args;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use taximeter_examples::event;

/// Counts what Kafka has acknowledged.
struct Acknowledged(Arc<AtomicUsize>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(_) => {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, message)) => eprintln!("{error}: {:?}", message.key()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = args().skip(1).collect();
    let [brokers, topic, customer, count] = arguments.as_slice() else {
        return Err("usage: single_events BROKERS TOPIC CUSTOMER COUNT".into());
    };
    let count: usize = count.parse()?;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let producer: ThreadedProducer<Acknowledged> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .create_with_context(Acknowledged(acknowledged.clone()))?;
    for number in 0..count {
        let value = event("rust", customer, number).to_string();
        let mut record = BaseRecord::to(topic).key(customer).payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(20));
            record = refused;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    match acknowledged.load(Ordering::Relaxed) {
        sent if sent == count => println!("sent {sent}"),
        sent => return Err(format!("sent {sent} of {count}").into()),
    }
    Ok(())
}
