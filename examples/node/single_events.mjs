// Single usage events from Node, with the client @platformatic/kafka: node single_events.mjs BROKERS TOPIC CUSTOMER COUNT
//
// The key of a record is the customer. The partitioner must be named: only the compatible one is Kafka's own, which decides where a customer is
// counted. A record counts as sent when all in-sync replicas have it. Repeat an event under the same id as often as you like: it counts once.
import { ProduceAcks, Producer, compatibilityPartitioner, stringSerializers } from "@platformatic/kafka";
import { event } from "./event.mjs";

const [brokers, topic, customer, count] = process.argv.slice(2);
const producer = new Producer({
  clientId: "single-events",
  bootstrapBrokers: brokers.split(","),
  serializers: stringSerializers,
  partitioner: compatibilityPartitioner,
  acks: ProduceAcks.ALL,
});
const messages = Array.from({ length: Number(count) }, (_, number) => ({
  topic,
  key: customer,
  value: JSON.stringify(event("node", customer, number)),
}));
await producer.send({ messages });
await producer.close();
console.log(`sent ${messages.length}`);
