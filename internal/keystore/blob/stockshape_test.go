package blob_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
)

// TestPreparedBlobsAreReadThroughEveryWayIn: what a stock host left in either
// version of the format, sealed or not, with the account's key and a signature.
func TestPreparedBlobsAreReadThroughEveryWayIn(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		p.sealer = dataProtection(t)
		sealed, _, err := codec.New(codec.Config{Sealer: p.sealer}).Encode("fn", keystoretest.Function("1"))
		if err != nil {
			t.Fatal(err)
		}
		p.write("orders/host.json", []byte(`{"masterKey":"m","functionKey":"f"}`))
		p.write("orders/old.json", []byte(`{"key":"k"}`))
		p.write("orders/fn.json", sealed)
		signed, _ := p.bySAS(p.signed(allRights, time.Hour), nil)
		for way, s := range map[string]keystore.Store{"key": p.open(), "signature": signed} {
			t.Run(way, func(t *testing.T) {
				want(t, s, keystore.HostDoc, keystore.Document{Keys: accesskey.Set{
					Master: accesskey.Key{Name: "master", Value: "m"}, Keys: []accesskey.Key{{Name: "default", Value: "f"}},
				}})
				want(t, s, "old", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "default", Value: "k"}}}})
				want(t, s, "fn", keystoretest.Function("1"))
			})
		}
	})
}

// uploads notes the condition and the answer of every write of a blob.
func (p *place) uploads() func() []string {
	var mu sync.Mutex
	var seen []string
	p.wire.setAfter(func(r *http.Request, resp *http.Response) error {
		if r.Method != http.MethodPut || r.URL.Query().Get("restype") == "container" {
			return nil
		}
		condition := "blind"
		switch {
		case r.Header.Get("If-Match") != "":
			condition = "if unchanged"
		case r.Header.Get("If-None-Match") == "*":
			condition = "if new"
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(condition, " ", resp.StatusCode))
		return nil
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := seen
		seen = nil
		return out
	}
}

// TestTheSecondOfTwoWritersIsRefusedAndTriesAgain: both read the same, the other
// one writes first. The stock host's second writer gets the 412 or 409.
func TestTheSecondOfTwoWritersIsRefusedAndTriesAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		for name, tc := range map[string]struct {
			doc  keystore.Doc
			seen []string
		}{
			"from the same read": {"fn", []string{"if unchanged 201", "if unchanged 412", "if unchanged 201"}},
			"of a new document":  {"new", []string{"if new 201", "if new 409", "if unchanged 201"}},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t, a)
				first, second := p.open(), p.open()
				put(t, first, "fn", keystore.Document{})
				seen := p.uploads()
				var once sync.Once
				_, _, err := second.Update(t.Context(), tc.doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
					once.Do(func() {
						if _, _, err := first.Update(t.Context(), tc.doc, addKey("theirs", "1")); err != nil {
							t.Error(err)
						}
					})
					return addKey("ours", "2")(old, exists)
				})
				if got := seen(); err != nil || !slices.Equal(got, tc.seen) {
					t.Errorf("%v; writes %q, want %q", err, got, tc.seen)
				}
				want(t, first, tc.doc, keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "theirs", Value: "1"}, {Name: "ours", Value: "2"}}}})
			})
		}
	})
}

// TestReadersNeverSeeAnEmptyBlob: a blob that was emptied before it was written
// made stock hosts generate keys.
func TestReadersNeverSeeAnEmptyBlob(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		p.write("orders/fn.json", []byte(`{"key":"k"}`))
		writer, done := p.open(), make(chan struct{})
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				for reading := true; reading; {
					select {
					case <-done:
						reading = false
					default:
					}
					if size := len(p.read("orders/fn.json")); size == 0 {
						t.Error("an empty blob")
						return
					}
				}
			})
		}
		for i := range 40 {
			put(t, writer, "fn", keystoretest.Function(fmt.Sprint(i)))
		}
		close(done)
		readers.Wait()
	})
}
