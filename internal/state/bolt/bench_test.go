package bolt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
)

// benchmarked is how many documents are in the store of the benchmarks.
const benchmarked = 200_000

func benchStore(b *testing.B, documents int) *bolt.Store {
	b.Helper()
	ctx := context.Background()
	s, err := bolt.Open(ctx, filepath.Join(b.TempDir(), "state"), clock.Real{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := w * state.MaxOps; i < documents; i += 50 * state.MaxOps {
				var ops []state.Op
				for n := range state.MaxOps {
					ops = append(ops, state.Put(key(i+n), make([]byte, 500), state.Any))
				}
				if _, err := s.Write(ctx, ops...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportAllocs()
	return s
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b, benchmarked)
	for b.Loop() {
		if _, err := s.Get(context.Background(), key(rand.IntN(benchmarked))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListPage(b *testing.B) {
	s := benchStore(b, benchmarked)
	for b.Loop() {
		listing, err := s.List(context.Background(), "/d/", state.Page{After: key(rand.IntN(benchmarked - 200)), Limit: 100})
		if err != nil || len(listing.Documents) != 100 || !listing.More {
			b.Fatal(len(listing.Documents), err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			s := benchStore(b, 10_000)
			var n atomic.Int64
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Write(context.Background(), state.Put(key(int(n.Add(1))%10_000), make([]byte, 500), state.Any)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
