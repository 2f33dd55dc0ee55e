package keyring_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
)

// timedBook notes when each key's uses were written.
type timedBook struct {
	ledgerBook
	clock  clock.Clock
	mu     sync.Mutex
	at     map[string][]time.Time
	adds   int
	counts map[string]int64

	closing bool
}

func (b *timedBook) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closing = true
}

func (b *timedBook) Add(ctx context.Context, uses []keyring.Use) ([]keyring.Use, error) {
	b.mu.Lock()
	b.adds++
	for _, u := range uses {
		if !b.closing { // the ring writes once more then, whenever that is
			b.at[u.Key.Name] = append(b.at[u.Key.Name], b.clock.Now())
		}
		b.counts[u.Key.Name] += u.Count
	}
	b.mu.Unlock()
	return b.ledgerBook.Add(ctx, uses)
}

func (b *timedBook) written() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.adds
}

// TestUsesUnderLoadAreWrittenOncePerKeyAndMinute: however many requests there are,
// and never to the key store.
func TestUsesUnderLoadAreWrittenOncePerKeyAndMinute(t *testing.T) {
	const keys, minutes, senders = 20, 6, 4
	book := &timedBook{at: map[string][]time.Time{}, counts: map[string]int64{}}
	e := newEnv(t, func(c *keyring.Config) { c.Usage = book })
	book.clock = e.clock
	set := hostSet("mastervalue", nil, nil)
	for k := range keys {
		set.Keys = append(set.Keys, accesskey.Key{Name: fmt.Sprint("k", k), Value: fmt.Sprint("value-", k)}.WithMeta(
			accesskey.Meta{Rate: accesskey.Rate{N: 1000, Per: time.Second}, Quota: accesskey.Quota{N: 1_000_000, Per: accesskey.Month}}))
	}
	e.put(keystore.HostDoc, set)
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	before := e.tap.updates.Load()
	var sent int64
	begun := e.clock.Now()
	for late := time.Now().Add(time.Minute); book.written() < minutes && time.Now().Before(late); {
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for k := range keys {
					if d := e.present(fmt.Sprint("value-", k), "GET", "10.0.0.1"); d.Reason != keyring.Matched {
						t.Errorf("key %d: %v", k, d.Reason)
					}
				}
			})
		}
		wg.Wait()
		sent += senders
		e.clock.Advance(10 * time.Second)
	}
	took := e.clock.Now().Sub(begun)
	book.end()
	e.Close()
	for name, times := range book.at {
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < time.Minute {
				t.Errorf("%s is written again after %v", name, gap)
			}
		}
		if book.counts[name] != sent {
			t.Errorf("%d of %d uses of %s are kept", book.counts[name], sent, name)
		}
	}
	if len(book.at) != keys || book.adds < minutes || book.adds > int(took/time.Minute)+1 {
		t.Errorf("%d keys in %d writes", len(book.at), book.adds)
	}
	if n := e.tap.updates.Load() - before; n != 0 {
		t.Errorf("%d writes to the key store", n)
	}
}
