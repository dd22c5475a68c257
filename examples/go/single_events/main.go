// Single usage events from Go, with the stock client franz-go.
//
//	go run ./single_events -brokers localhost:9092 -customer cus_123 -events 10
//
// Three things matter, and the client has the right defaults for the last two:
// the key of a record is the customer, the partitioner is Kafka's own (murmur2 of the key), and a record counts as sent when all in-sync
// replicas have it. Repeat an event under the same id as often as you like: it counts once.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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

func main() {
	brokers := flag.String("brokers", "localhost:9092", "bootstrap servers")
	topic := flag.String("topic", "usage.events", "topic of usage events")
	customer := flag.String("customer", "cus_123", "who is billed")
	events := flag.Int("events", 10, "how many")
	flag.Parse()
	if err := emit(*brokers, *topic, *customer, *events); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("sent %d\n", *events)
}

func emit(brokers, topic, customer string, count int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, count)
	for n := range count {
		value, err := json.Marshal(Event{
			ID:         fmt.Sprintf("go-%s-%d", customer, n),
			Source:     "examples/go",
			Time:       time.Now().UTC(),
			Customer:   customer,
			Usage:      map[string]int64{"input_tokens": 812, "output_tokens": 164},
			Dimensions: map[string]string{"model": "alpaca-7b"},
		})
		if err != nil {
			return err
		}
		records = append(records, &kgo.Record{Key: []byte(customer), Value: value})
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}
