package server

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How far the heap may grow before it is collected. The live heap of a host is a
// few MiB, so Go's own default would collect many times a second under load:
// mostGrowth, in percent of what is alive, trades some MiB for that time. A node
// with many apps has a larger one, for which that would be much: from roomAtLeast
// bytes on the heap grows by these, until Go's default is more.
const (
	mostGrowth  = 400
	leastGrowth = 100
	roomAtLeast = 64 << 20
)

// TuneMemory sets the collector up for serving, unless the environment does
// (GOGC). Call it once.
func TuneMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(mostGrowth)
	followCollector(mostGrowth)
}

// growthFor gives the growth in percent for a live heap in bytes.
func growthFor(live uint64) int {
	return int(min(max(roomAtLeast*100/max(live, 1), leastGrowth), mostGrowth))
}

// collected is garbage from the beginning: its finalizer runs after each
// collection.
type collected struct{ growth *int }

// followCollector adapts the growth after each collection, on the runtime's own
// goroutine for finalizers.
func followCollector(growth int) {
	runtime.SetFinalizer(&collected{&growth}, func(c *collected) {
		next := growthFor(liveHeap())
		if next != *c.growth {
			debug.SetGCPercent(next)
		}
		followCollector(next)
	})
}

// liveHeap gives the bytes that the last collection left.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
