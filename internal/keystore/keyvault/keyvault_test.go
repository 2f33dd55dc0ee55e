package keyvault_test

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

func TestConformance(t *testing.T) {
	keystoretest.Run(t, keystoretest.Config{
		New: func(t *testing.T) keystoretest.Harness { return newPlace(t, localvault.Config{}).harness() },
		Except: map[string]string{
			"what dead writers leave is ignored and swept": "a writer leaves whole secrets only, which are in force; its claim runs out (TestTheClaimOfADeadWriterRunsOut)",
		},
		Timeout: 3 * time.Minute,
	})
}

func TestCross(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a thousand operations of several requests each")
	}
	keystoretest.CrossTest(t, memory.New(), newPlace(t, localvault.Config{EmptyPages: true}).open())
}
