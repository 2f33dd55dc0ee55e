package token

import (
	"log/slog"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state/memory"
)

// BenchmarkVerify measures what every management call pays.
func BenchmarkVerify(b *testing.B) {
	for name, forget := range map[string]bool{"remembered": false, "new": true} {
		b.Run(name, func(b *testing.B) {
			c := clock.NewManual(start)
			a, err := New(Config{Store: memory.New(c), Clock: c, Log: slog.New(slog.DiscardHandler), TenantID: tenant})
			if err != nil {
				b.Fatal(err)
			}
			tok, err := a.Mint(b.Context(), claims, time.Hour)
			if err != nil {
				b.Fatal(err)
			}
			set, err := a.current(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			a.keys.Store(set)
			b.ReportAllocs()
			for b.Loop() {
				if forget {
					a.verified.Purge()
				}
				if _, err := a.Verify(b.Context(), tok.Raw, forARM); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
