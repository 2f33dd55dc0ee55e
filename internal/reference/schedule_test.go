package reference

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/app"
)

func TestWaitsGrowAndVary(t *testing.T) {
	b := Backoff{First: 5 * time.Second, Most: 5 * time.Minute}
	for failures, full := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300, 300} {
		full *= time.Second
		least, most := full, time.Duration(0)
		for range 1000 {
			wait := b.wait(failures)
			least, most = min(least, wait), max(most, wait)
		}
		if least < full/2 || most > full {
			t.Errorf("after %d failures it waits %s to %s", failures, least, most)
		}
		if most-least < full/4 {
			t.Errorf("after %d failures it always waits about %s", failures, least)
		}
	}
	if wait := b.wait(1 << 30); wait > b.Most {
		t.Errorf("it waits %s", wait)
	}
}

func TestRefreshesAreSpreadAndMindExpiry(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	seen := map[time.Time]bool{}
	for range 1000 {
		due := regular(now, 5*time.Minute, time.Time{})
		if due.Before(at(4*time.Minute)) || due.After(at(5*time.Minute)) {
			t.Fatalf("due in %s", due.Sub(now))
		}
		seen[due] = true
	}
	if len(seen) < 900 {
		t.Errorf("only %d different times", len(seen))
	}
	for _, tt := range []struct {
		name    string
		expires time.Duration
		want    time.Duration
	}{
		{"soon", time.Hour, 59 * time.Minute},
		{"very soon", 30 * time.Second, 30 * time.Second},
		{"just before", time.Minute, time.Minute},
	} {
		if due := regular(now, 24*time.Hour, at(tt.expires)); !due.Equal(at(tt.want)) {
			t.Errorf("%s: due in %s", tt.name, due.Sub(now))
		}
	}
	if due := regular(now, 5*time.Minute, at(-time.Hour)); due.Before(at(4 * time.Minute)) {
		t.Errorf("what has expired is read in %s", due.Sub(now))
	}
}

func TestADocumentIsCurrentForTheStartItCaused(t *testing.T) {
	a := app.App{Generation: 7}
	for name, tt := range map[string]struct {
		doc     document
		current bool
	}{
		"same":                    {document{Generation: 7}, true},
		"older app":               {document{Generation: 8}, true},
		"newer app":               {document{Generation: 6}, false},
		"caused":                  {document{Generation: 6, Touch: true}, true},
		"caused and more":         {document{Generation: 5, Touch: true}, false},
		"nothing known":           {document{}, false},
		"pending and not started": {document{Generation: 7, Touch: true}, true},
	} {
		tt.doc.Identity = identityMark(a)
		if got := tt.doc.current(a); got != tt.current {
			t.Errorf("%s: %v", name, got)
		}
	}
	other := a
	other.ReferenceIdentity = "/user"
	if (document{Generation: 7, Identity: identityMark(a)}).current(other) {
		t.Error("an app with another identity")
	}
}

func TestLengthsAreNotUnderestimated(t *testing.T) {
	for _, text := range []string{"", "plain", "<a href=\"x\">&\\\n\x01", "äöü€"} {
		if got, real := encodedLength(text), len(jsonOf(t, text))-2; got < real {
			t.Errorf("%q: %d, really %d", text, got, real)
		}
	}
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
