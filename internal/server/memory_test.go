package server

import (
	"runtime"
	"testing"
)

func TestHeapGrowsByLessTheLargerItIs(t *testing.T) {
	tests := []struct {
		live uint64
		want int
	}{
		{0, 400}, {4 << 20, 400}, {16 << 20, 400}, {32 << 20, 200}, {64 << 20, 100}, {1 << 30, 100},
	}
	for _, tt := range tests {
		if got := growthFor(tt.live); got != tt.want {
			t.Errorf("%d MiB may grow by %d %%, want %d %%", tt.live>>20, got, tt.want)
		}
	}
}

func TestLiveHeapIsKnown(t *testing.T) {
	runtime.GC()
	if liveHeap() == 0 {
		t.Error("the runtime does not say what is alive")
	}
}
