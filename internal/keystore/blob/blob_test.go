package blob_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/seal"
)

func TestConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		for name, sealer := range map[string]func(*testing.T) seal.Sealer{
			"in clear":        func(*testing.T) seal.Sealer { return nil },
			"data protection": dataProtection,
		} {
			t.Run(name, func(t *testing.T) {
				keystoretest.Run(t, keystoretest.Config{
					New: func(t *testing.T) keystoretest.Harness {
						p := newPlace(t, a)
						p.sealer = sealer(t)
						return p.harness()
					},
					Except: map[string]string{
						"what dead writers leave is ignored and swept": "an upload is whole or not there at all",
					},
				})
			})
		}
	})
}

func TestAgreesWithTheReference(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		sealed := newPlace(t, a)
		sealed.sealer = dataProtection(t)
		keystoretest.CrossTest(t, memory.New(), newPlace(t, a).open(), sealed.open())
	})
}
