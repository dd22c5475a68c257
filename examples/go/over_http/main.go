// Usage events from Go to the gateway, with the standard library only.
//
//	go run ./over_http -gateway http://localhost:8080 -key "$KEY" -customer cus_123 -events 10
//
// 202 says that Kafka has all events. After no answer, 429 or 5xx the same request is sent again: its ids are the same, so nothing counts twice.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Event is the form of docs/schemas/usage.events/single-event.schema.json.
type Event struct {
	ID         string            `json:"id"`
	Source     string            `json:"source"`
	Time       time.Time         `json:"time"`
	Customer   string            `json:"customer"`
	Usage      map[string]int64  `json:"usage"`
	Dimensions map[string]string `json:"dimensions,omitempty"`
}

const (
	attempts     = 8
	answerWithin = 15 * time.Second
)

func main() {
	gateway := flag.String("gateway", "http://localhost:8080", "where the gateway is")
	key := flag.String("key", "", "API key")
	customer := flag.String("customer", "cus_123", "who is billed")
	count := flag.Int("events", 10, "how many")
	flag.Parse()
	events := make([]Event, 0, *count)
	for n := range *count {
		events = append(events, Event{
			ID:         fmt.Sprintf("go-http-%s-%d", *customer, n),
			Source:     "examples/go",
			Time:       time.Now().UTC(),
			Customer:   *customer,
			Usage:      map[string]int64{"input_tokens": 812, "output_tokens": 164},
			Dimensions: map[string]string{"model": "alpaca-7b"},
		})
	}
	if err := send(*gateway, *key, events); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("sent %d\n", *count)
}

func send(gateway, key string, events []Event) error {
	body, err := json.Marshal(events)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: answerWithin}
	wait := 200 * time.Millisecond
	for attempt := 1; ; attempt++ {
		status, answer, err := post(client, gateway, key, body)
		switch {
		case err == nil && status == http.StatusAccepted:
			return nil
		case err == nil && status < 500 && status != http.StatusTooManyRequests:
			return fmt.Errorf("%d: %s", status, answer) // 207 and 400 name each event that was rejected
		case attempt == attempts:
			return errors.Join(err, fmt.Errorf("%d: %s after %d attempts", status, answer, attempt))
		}
		time.Sleep(wait)
		wait *= 2
	}
}

func post(client *http.Client, gateway, key string, body []byte) (int, []byte, error) {
	request, err := http.NewRequest(http.MethodPost, gateway+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
