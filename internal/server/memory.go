package server

import (
	"os"
	"runtime/debug"
)

// growth is how far the heap may grow before it is collected, in percent of what
// is alive. The live heap of a host is a few MiB, so Go's own default would
// collect many times a second under load; this trades some MiB for that time.
const growth = 400

// TuneMemory sets the collector up for serving, unless the environment does
// (GOGC).
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
}
