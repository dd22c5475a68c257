import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A consumer with sums in a HashMap and ids in a HashSet, which both go with the process: what was added since the last time is written and
 * flushed, then the offsets are committed. A crash in between counts that part twice, and the ids of before the crash are forgotten.
 *
 * <p>Arguments: bootstrap servers, input topic, output topic, group id, state folder (not used), commit interval in ms.
 * Output: key customer, value {"window": start in ms, "tokens": what is added}; all of a window are to be summed.
 */
public final class PlainConsumer {
    private record Window(String customer, long startMs) {}

    private PlainConsumer() {}

    public static void main(String[] arguments) {
        long commitMs = Long.parseLong(arguments[5]);
        Map<Window, Long> added = new HashMap<>();
        Set<String> ids = new HashSet<>();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(arguments[0], arguments[3]);
                KafkaProducer<byte[], byte[]> producer = producer(arguments[0])) {
            consumer.subscribe(List.of(arguments[1]));
            long due = System.currentTimeMillis() + commitMs;
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    Event event = Event.parse(record.value());
                    if (ids.add(event.identity())) {
                        long timeMs = event.timeMs();
                        added.merge(new Window(event.customer(), timeMs - timeMs % Event.WINDOW_MS), event.tokens(), Long::sum);
                    }
                }
                if (System.currentTimeMillis() >= due) {
                    write(producer, arguments[2], added);
                    consumer.commitSync();
                    due = System.currentTimeMillis() + commitMs;
                }
            }
        }
    }

    private static void write(KafkaProducer<byte[], byte[]> producer, String output, Map<Window, Long> added) {
        added.forEach((window, tokens) -> {
            String value = "{\"window\":" + window.startMs() + ",\"tokens\":" + tokens + "}";
            producer.send(
                new ProducerRecord<>(output, window.customer().getBytes(StandardCharsets.UTF_8), value.getBytes(StandardCharsets.UTF_8)),
                (metadata, error) -> {
                    if (error != null) {
                        error.printStackTrace();
                        Runtime.getRuntime().halt(1);
                    }
                });
        });
        producer.flush();
        added.clear();
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String servers, String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("group.id", group);
        settings.put("group.instance.id", "one");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static KafkaProducer<byte[], byte[]> producer(String servers) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "5");
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }
}
