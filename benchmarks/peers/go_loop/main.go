// A franz-go consumer with sums in a map and ids in a set, which both go with the process: what was added since the last time is written and
// acknowledged, then the offsets are committed. A crash in between counts that part twice, and the ids of before the crash are forgotten.
//
// Arguments: bootstrap servers, input topic, output topic, group id, state folder (not used), commit interval in ms.
// Output: key customer, value {"window": start in ms, "tokens": what is added}; all of a window are to be summed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"
)

const windowMs = 60_000

type event struct {
	ID       string    `json:"id"`
	Source   string    `json:"source"`
	Customer string    `json:"customer"`
	Time     time.Time `json:"time"`
	Usage    struct {
		InputTokens  int64 `json:"input_tokens"`
		OutputTokens int64 `json:"output_tokens"`
	} `json:"usage"`
}

type identity struct{ source, id string }

type window struct {
	customer string
	startMs  int64
}

type sums struct {
	added map[window]int64
	ids   map[identity]struct{}
}

func (s *sums) add(value []byte) error {
	var read event
	if err := json.Unmarshal(value, &read); err != nil {
		return err
	}
	seen := identity{read.Source, read.ID}
	if _, again := s.ids[seen]; again {
		return nil
	}
	s.ids[seen] = struct{}{}
	timeMs := read.Time.UnixMilli()
	s.added[window{read.Customer, timeMs - timeMs%windowMs}] += read.Usage.InputTokens + read.Usage.OutputTokens
	return nil
}

func (s *sums) write(ctx context.Context, client *kgo.Client, topic string) error {
	records := make([]*kgo.Record, 0, len(s.added))
	for of, tokens := range s.added {
		value := fmt.Sprintf(`{"window":%d,"tokens":%d}`, of.startMs, tokens)
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(of.customer), Value: []byte(value)})
	}
	clear(s.added)
	return client.ProduceSync(ctx, records...).FirstErr()
}

func count(servers, input, output, group string, commit time.Duration) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.ConsumerGroup(group),
		kgo.InstanceID("one"),
		kgo.ConsumeTopics(input),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.ProducerLinger(5*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := context.Background()
	state := sums{map[window]int64{}, map[identity]struct{}{}}
	for due := time.Now().Add(commit); ; {
		polling, done := context.WithDeadline(ctx, due)
		fetches := client.PollFetches(polling)
		done()
		if err := fetches.Err0(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		for records := fetches.RecordIter(); !records.Done(); {
			if err := state.add(records.Next().Value); err != nil {
				return err
			}
		}
		if time.Now().Before(due) {
			continue
		}
		if err := state.write(ctx, client, output); err != nil {
			return err
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
		due = time.Now().Add(commit)
	}
}

func main() {
	commitMs, err := strconv.Atoi(os.Args[6])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(count(os.Args[1], os.Args[2], os.Args[3], os.Args[4], time.Duration(commitMs)*time.Millisecond))
}
