package token

import (
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// benchmarked gives an authority that has its keys in memory.
func benchmarked(b *testing.B, algorithm Algorithm) *Authority {
	b.Helper()
	c := clock.NewManual(start)
	a, err := New(Config{Store: memory.New(c), Clock: c, Log: slog.New(slog.DiscardHandler), TenantID: tenant, Algorithm: algorithm})
	if err != nil {
		b.Fatal(err)
	}
	set, err := a.current(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	a.keys.Store(set)
	b.ReportAllocs()
	return a
}

// BenchmarkMint measures what a token costs that is not remembered.
func BenchmarkMint(b *testing.B) {
	for _, algorithm := range []Algorithm{RS256, ES256} {
		b.Run(string(algorithm), func(b *testing.B) {
			a := benchmarked(b, algorithm)
			for b.Loop() {
				if _, err := a.Mint(b.Context(), claims, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify measures what every management call pays.
func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []Algorithm{RS256, ES256} {
		b.Run(string(algorithm)+"/cached", func(b *testing.B) { benchmarkVerify(b, algorithm, false) })
		b.Run(string(algorithm)+"/uncached", func(b *testing.B) { benchmarkVerify(b, algorithm, true) })
	}
}

func benchmarkVerify(b *testing.B, algorithm Algorithm, forget bool) {
	a := benchmarked(b, algorithm)
	tok, err := a.Mint(b.Context(), claims, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if forget {
			a.verified.Purge()
		}
		if _, err := a.Verify(b.Context(), tok.Raw, forARM); err != nil {
			b.Fatal(err)
		}
	}
}
