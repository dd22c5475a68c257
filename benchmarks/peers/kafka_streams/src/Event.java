import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.util.Map;

/** One usage event in Taximeter's JSON form. */
@JsonIgnoreProperties(ignoreUnknown = true)
record Event(String id, String source, String time, String customer, Map<String, Long> usage) {
    static final long WINDOW_MS = 60_000;
    private static final ObjectReader READER = new ObjectMapper().readerFor(Event.class);
    private static final ObjectWriter WRITER = new ObjectMapper().writerFor(Event.class);

    static Event parse(byte[] json) {
        try {
            return READER.readValue(json);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    byte[] toJson() {
        try {
            return WRITER.writeValueAsBytes(this);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** The length keeps ("a", "bc") and ("ab", "c") apart. */
    String identity() {
        return source.length() + ":" + source + id;
    }

    long timeMs() {
        return Instant.parse(time).toEpochMilli();
    }

    long tokens() {
        return usage.getOrDefault("input_tokens", 0L) + usage.getOrDefault("output_tokens", 0L);
    }
}
