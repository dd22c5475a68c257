package example;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Single usage events from Java, with Kafka's own client: {@code SingleEvents BROKERS TOPIC CUSTOMER COUNT}.
 *
 * <p>The key is the customer, and the partitioner is the client's default. With a key, that is murmur2, which decides in which partition the customer is counted.
 * Repeat an event under the same id as often as you like: it counts once.
 */
public final class SingleEvents {
    private SingleEvents() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 4) {
            System.err.println("usage: SingleEvents BROKERS TOPIC CUSTOMER COUNT");
            System.exit(2);
        }
        int count = Integer.parseInt(arguments[3]);
        emit(arguments[0], arguments[1], arguments[2], count);
        System.out.println("sent " + count);
    }

    private static void emit(String brokers, String topic, String customer, int count) throws Exception {
        Properties settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, "true");
        settings.put(ProducerConfig.LINGER_MS_CONFIG, "20");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int number = 0; number < count; number++) {
                sent.add(producer.send(new ProducerRecord<>(topic, customer, event(customer, number))));
            }
            for (Future<RecordMetadata> one : sent) {
                one.get(60, TimeUnit.SECONDS); // throws what went wrong: an event is sent when all in-sync replicas have it
            }
        }
    }

    /** The form of docs/schemas/usage.events/single-event.schema.json; use your JSON library where texts are not your own. */
    private static String event(String customer, int number) {
        return """
            {"id": "java-%s-%d", "source": "examples/java", "time": "%s", "customer": "%s", \
            "usage": {"input_tokens": 812, "output_tokens": 164}, "dimensions": {"model": "alpaca-7b"}}"""
            .formatted(customer, number, Instant.now(), customer);
    }
}
