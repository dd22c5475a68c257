package example;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Usage events from Java to the gateway, with Java's own client: {@code OverHttp GATEWAY CUSTOMER COUNT}; the key is in TAXIMETER_API_KEY.
 *
 * <p>202 says that Kafka has all events. After no answer, 429 or 5xx the same request is sent again: its ids are the same, so nothing counts twice.
 */
public final class OverHttp {
    private static final int ATTEMPTS = 8;
    private static final Duration ANSWER_WITHIN = Duration.ofSeconds(15);

    private OverHttp() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 3) {
            System.err.println("usage: OverHttp GATEWAY CUSTOMER COUNT");
            System.exit(2);
        }
        int count = Integer.parseInt(arguments[2]);
        String events = IntStream.range(0, count).mapToObj(number -> event(arguments[1], number)).collect(Collectors.joining(",", "[", "]"));
        send(arguments[0], System.getenv("TAXIMETER_API_KEY"), events);
        System.out.println("sent " + count);
    }

    private static void send(String gateway, String key, String events) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(gateway + "/v1/events"))
            .timeout(ANSWER_WITHIN)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(events));
        if (key != null) {
            request.header("Authorization", "Bearer " + key);
        }
        HttpClient client = HttpClient.newHttpClient();
        long wait = 200;
        for (int attempt = 1; ; attempt++) {
            String problem;
            try {
                HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
                int status = answer.statusCode();
                problem = status + ": " + answer.body();
                if (status == 202) {
                    return;
                }
                if (status < 500 && status != 429) {
                    throw new IllegalStateException(problem); // 207 and 400 name each event that was rejected
                }
            } catch (IOException error) {
                problem = error.toString();
            }
            if (attempt == ATTEMPTS) {
                throw new IllegalStateException(problem + " after " + attempt + " attempts");
            }
            Thread.sleep(wait);
            wait *= 2;
        }
    }

    /** The form of docs/schemas/usage.events/single-event.schema.json; use your JSON library where texts are not your own. */
    private static String event(String customer, int number) {
        return """
            {"id": "java-http-%s-%d", "source": "examples/java", "time": "%s", "customer": "%s", \
            "usage": {"input_tokens": 812, "output_tokens": 164}, "dimensions": {"model": "alpaca-7b"}}"""
            .formatted(customer, number, Instant.now(), customer);
    }
}
