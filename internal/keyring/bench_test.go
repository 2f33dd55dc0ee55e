package keyring_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
)

var benchSource = netip.MustParseAddr("192.0.2.1")

// crowd gives a ring with n function keys, spread over 10 functions, and the
// keys of function 0 and of function 1.
func crowd(tb testing.TB, n int) (r *keyring.Ring, own, others []string) {
	tb.Helper()
	store := memory.New()
	host := keystore.Document{Keys: accesskey.Set{Master: accesskey.Key{Value: newKey(tb, azfkey.Master)}}}
	store.Put(keystore.HostDoc, host)
	var names []string
	for f := range 10 {
		var doc keystore.Document
		for k := range n / 10 {
			doc.Keys.Keys = append(doc.Keys.Keys, accesskey.Key{Name: "k" + strconv.Itoa(k), Value: newKey(tb, azfkey.Function)})
		}
		names = append(names, "f"+strconv.Itoa(f))
		store.Put(keystore.FunctionDoc(names[f]), doc)
		switch f {
		case 0:
			own = values(doc.Keys.Keys)
		case 1:
			others = values(doc.Keys.Keys)
		}
	}
	r, err := keyring.New(keyring.Config{Store: store, Clock: clock.NewManual(time.Unix(1e9, 0))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	if err := r.Open(context.Background()); err != nil {
		tb.Fatal(err)
	}
	if err := r.Ensure(context.Background(), names); err != nil {
		tb.Fatal(err)
	}
	return r, own, others
}

func values(keys []accesskey.Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Value)
	}
	return out
}

func newKey(tb testing.TB, kind azfkey.Kind) string {
	tb.Helper()
	v, err := azfkey.Generate(kind)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 100, 10_000} {
		r, own, others := crowd(b, n)
		unknown := make([]string, len(own))
		for i := range unknown {
			unknown[i] = newKey(b, azfkey.Function)
		}
		for _, c := range []struct {
			name string
			keys []string
			want keyring.Reason
		}{
			{"hit", own, keyring.Matched}, {"miss", unknown, keyring.Unknown}, {"otherFunction", others, keyring.OtherFunction},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) { authorizeLoop(b, r, c.keys, c.want) })
		}
	}
}

func authorizeLoop(b *testing.B, r *keyring.Ring, keys []string, want keyring.Reason) {
	ctx, f, i := context.Background(), r.Function("f0"), 0
	b.ReportAllocs()
	for b.Loop() {
		d := r.Authorize(ctx, keyring.Request{Key: keys[i], Function: f, Source: benchSource})
		if d.Reason != want {
			b.Fatalf("reason %v, want %v", d.Reason, want)
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
}

func BenchmarkAuthorizeParallel(b *testing.B) {
	r, own, _ := crowd(b, 10_000)
	f := r.Function("f0")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			r.Authorize(context.Background(), keyring.Request{Key: own[i%len(own)], Function: f, Source: benchSource})
		}
	})
}

func TestAuthorizeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r, own, others := crowd(t, 100)
	f, ctx := r.Function("f0"), context.Background()
	long := string(make([]byte, 2000))
	for name, key := range map[string]string{
		"hit": own[3], "other function": others[3], "miss": long, "short miss": "guess", "no key": "", "too long": long + long + long,
	} {
		req := keyring.Request{Key: key, Function: f, Source: benchSource}
		r.Authorize(ctx, req) // lets the one re-read of the minute happen
		if n := testing.AllocsPerRun(200, func() { r.Authorize(ctx, req) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// managed puts the keys of function 0 under limits that allow everything and
// counts their uses.
func managed(tb testing.TB) (*keyring.Ring, []string) {
	tb.Helper()
	store, ctx := memory.New(), context.Background()
	m := accesskey.Meta{
		Expires: time.Unix(2e9, 0), NotBefore: time.Unix(1, 0), Methods: []string{"GET", "POST"},
		CIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Rate:  accesskey.Rate{N: 1_000_000_000, Per: time.Second}, Quota: accesskey.Quota{N: 1_000_000_000, Per: accesskey.Month},
	}
	var doc keystore.Document
	for k := range 10 {
		key := accesskey.Key{Name: "k" + strconv.Itoa(k), Value: newKey(tb, azfkey.Function)}
		doc.Keys.Keys = append(doc.Keys.Keys, key.WithMeta(m))
	}
	store.Put("f0", doc)
	store.Put(keystore.HostDoc, keystore.Document{Keys: accesskey.Set{Master: accesskey.Key{Value: newKey(tb, azfkey.Master)}}})
	r, err := keyring.New(keyring.Config{Store: store, Usage: &ledgerBook{}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	if err := r.Open(ctx); err != nil {
		tb.Fatal(err)
	}
	if err := r.Ensure(ctx, []string{"f0"}); err != nil {
		tb.Fatal(err)
	}
	return r, values(doc.Keys.Keys)
}

// BenchmarkManaged compares a plain key with one under every kind of limit whose
// uses are counted, on the system clock.
func BenchmarkManaged(b *testing.B) {
	plain, own, _ := crowd(b, 100)
	limited, keys := managed(b)
	for _, c := range []struct {
		name string
		r    *keyring.Ring
		key  string
	}{{"plain", plain, own[3]}, {"limits+usage", limited, keys[3]}} {
		b.Run(c.name, func(b *testing.B) {
			ctx, req := context.Background(), keyring.Request{Key: c.key, Function: c.r.Function("f0"), Source: benchSource, Method: "POST"}
			b.ReportAllocs()
			for b.Loop() {
				if d := c.r.Authorize(ctx, req); d.Reason != keyring.Matched {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

func TestAuthorizeWithLimitsAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r, keys := managed(t)
	ctx, f := context.Background(), r.Function("f0")
	for name, method := range map[string]string{"allowed": "GET", "refused": "PUT"} {
		req := keyring.Request{Key: keys[3], Function: f, Source: benchSource, Method: method}
		r.Authorize(ctx, req)
		if n := testing.AllocsPerRun(200, func() { r.Authorize(ctx, req) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
