import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams: tokens a customer and minute, each id once, exactly-once v2.
 *
 * <p>Arguments: bootstrap servers, input topic, output topic, application id, state folder, commit interval in ms.
 * Output: key customer, value {"window": start in ms, "tokens": the total so far}; the last one of a window holds.
 */
public final class WindowedSums {
    private static final Duration HORIZON = Duration.ofHours(24);
    private static final String IDS = "ids";

    private WindowedSums() {}

    public static void main(String[] arguments) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(arguments[1], arguments[2]), settings(arguments));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(20));
            ended.countDown();
        }));
        streams.start();
        ended.await();
    }

    private static Topology topology(String input, String output) {
        Serde<Event> events = Serdes.serdeFrom((topic, event) -> event.toJson(), (topic, json) -> Event.parse(json));
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(IDS), Serdes.String(), Serdes.Long()));
        builder.stream(input, Consumed.with(Serdes.String(), events).withTimestampExtractor((record, time) -> ((Event) record.value()).timeMs()))
            .processValues(FirstOfId::new, IDS)
            .groupByKey(Grouped.with(Serdes.String(), events))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(Event.WINDOW_MS), HORIZON))
            .aggregate(
                () -> 0L,
                (customer, event, sum) -> sum + event.tokens(),
                Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("sums").withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream()
            .map((window, sum) -> KeyValue.pair(window.key(), "{\"window\":" + window.window().start() + ",\"tokens\":" + sum + "}"))
            .to(output, Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 * 1024 * 1024);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // A restart under the same name takes its partitions back at once.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), "one");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        return settings;
    }

    /** Lets through the first event of an id; forgets ids after the horizon. */
    private static final class FirstOfId implements FixedKeyProcessor<String, Event, Event> {
        private FixedKeyProcessorContext<String, Event> context;
        private KeyValueStore<String, Long> ids;

        @Override
        public void init(FixedKeyProcessorContext<String, Event> context) {
            this.context = context;
            this.ids = context.getStateStore(IDS);
            context.schedule(Duration.ofHours(1), PunctuationType.WALL_CLOCK_TIME, this::forget);
        }

        @Override
        public void process(FixedKeyRecord<String, Event> record) {
            if (ids.putIfAbsent(record.value().identity(), record.timestamp()) == null) {
                context.forward(record);
            }
        }

        private void forget(long nowMs) {
            try (KeyValueIterator<String, Long> all = ids.all()) {
                while (all.hasNext()) {
                    KeyValue<String, Long> entry = all.next();
                    if (entry.value < nowMs - HORIZON.toMillis()) {
                        ids.delete(entry.key);
                    }
                }
            }
        }
    }
}
