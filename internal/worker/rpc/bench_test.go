package rpc_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkInvoke measures invocations of a function that returns its input, 64 at
// a time, over gRPC and over frames.
func BenchmarkInvoke(b *testing.B) {
	for _, overFrames := range []bool{false, true} {
		b.Run(fmt.Sprintf("frames=%v", overFrames), func(b *testing.B) {
			f := newFixture(b, "echo")
			f.cfg.Runtime.Frames = overFrames
			w := f.start(b)
			inv := invocation(w, "echo", "hello")
			var n atomic.Int64
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one := *inv
					one.ID = fmt.Sprint(n.Add(1))
					if _, err := w.Invoke(context.Background(), &one); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
