package signin

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

func TestANetworkOfIPv6CountsAsOneAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "192.0.2.7": "192.0.2.7", "": "", "pipe": "pipe",
		"[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64", "[2001:db8:1:2:ffff::1]:99": "2001:db8:1:2::/64", "[2001:db8:1:3::1]:99": "2001:db8:1:3::/64",
		"[fe80::1%eth0]:9": "fe80::/64", "[::ffff:192.0.2.7]:9": "::ffff:192.0.2.7",
	} {
		if got := source(remote); got != want {
			t.Errorf("%q counts as %q, want %q", remote, got, want)
		}
	}
}

// TestThoseWhoFailWaitForEachOtherOnly has one address fail too often and then look up
// links that take long: others do not wait for it.
func TestThoseWhoFailWaitForEachOtherOnly(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC))
	a, err := newAttempts(c)
	if err != nil {
		t.Fatal(err)
	}
	const evil = "192.0.2.66:1"
	for i := range most + 1 {
		if bad := a.failed(evil); bad != (i >= most) {
			t.Errorf("failure %d: too many is %v", i+1, bad)
		}
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	var ends []func()
	through := func(remote string) bool {
		done, err := a.look(t.Context(), remote)
		ends = append(ends, done)
		return err == nil
	}
	for range slow {
		if !through(evil) {
			t.Fatal("it is kept out")
		}
	}
	for i := range lane {
		if !through(fmt.Sprintf("192.0.2.%d:1", i)) {
			t.Fatalf("another one waits behind it, %d", i)
		}
	}
	for _, remote := range []string{evil, "192.0.2.200:1"} {
		if _, err := a.look(over, remote); err == nil {
			t.Errorf("%s: more are looked up at a time than may be", remote)
		}
	}
	for _, end := range ends {
		end()
	}
	for range lane {
		if !through("192.0.2.200:1") {
			t.Fatal("the way is not free again")
		}
	}
	c.Advance(window)
	if a.often(evil) {
		t.Error("it is remembered for longer than a minute")
	}
}

// TestSignInsByAProviderThatSucceedAreNotCounted has more people come in by one address
// than may fail there.
func TestSignInsByAProviderThatSucceedAreNotCounted(t *testing.T) {
	a, err := newAttempts(clock.NewManual(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * together {
		begun, answered := a.allow("192.0.2.1:1"), a.allow("192.0.2.1:1")
		if !begun || !answered {
			t.Fatalf("the %dth is refused", i+1)
		}
		a.succeeded("192.0.2.1:1", 2)
	}
	for i := range most + 1 {
		if a.allow("192.0.2.1:1") != (i < most) {
			t.Errorf("attempt %d that leads nowhere: allowed is %v", i+1, i >= most)
		}
	}
}
