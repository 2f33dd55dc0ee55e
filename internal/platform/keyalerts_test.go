package platform

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/notify"
)

func retiredUsed(retired string, from keyring.AddressClass) keyring.Event {
	return keyring.Event{Type: keyring.RetiredKeyUsed, Kind: accesskey.Host, Function: "hello", Name: "partner", Retired: retired, From: from, Source: "192.0.2.1"}
}

func TestUseOfFormerValuesIsToldOncePerClassAndHour(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	var sent []notify.Event
	k := newKeyAlerts(func(e notify.Event) { sent = append(sent, e) }, c, slog.New(slog.DiscardHandler))
	orders := app.App{Name: "Orders", UID: "1"}
	const former = "partner.until-20260102T000000Z"
	step := func(what string, want int, e keyring.Event) {
		t.Helper()
		sent = nil
		if k.note(orders, "/sites/orders", e); len(sent) != want {
			t.Errorf("%s: told %d times", what, len(sent))
		}
	}
	step("the first use", 1, retiredUsed(former, keyring.Public))
	text, _ := json.Marshal(sent[0].Data)
	const want = `{"app":"Orders","function":"hello","kind":"host","key":"partner","retired":"partner.until-20260102T000000Z","ends":"2026-01-02T00:00:00Z","works":true,"source":"public"}`
	if string(text) != want || sent[0].Type != "dev.latchkey.key.retiredUsed" || sent[0].Subject != "/sites/orders" {
		t.Errorf("told %s %+v", text, sent[0])
	}
	step("again", 0, retiredUsed(former, keyring.Public))
	step("from elsewhere", 1, retiredUsed(former, keyring.Loopback))
	refused := retiredUsed(former, keyring.Public)
	refused.Type, refused.Reason = keyring.KeyRefused, keyring.KeyExpired
	step("after its end", 1, refused)
	if text, _ := json.Marshal(sent[0].Data); !strings.Contains(string(text), `"works":false,"reason":"keyExpired"`) {
		t.Errorf("told %s", text)
	}
	step("a key in use that is refused", 0, keyring.Event{Type: keyring.KeyRefused, Name: "partner"})
	c.Advance(time.Hour)
	step("after an hour", 1, retiredUsed(former, keyring.Public))
	(*keyAlerts)(nil).note(orders, "", retiredUsed(former, keyring.Public))
}

func TestAlertsAreBounded(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	var log strings.Builder
	sent := 0
	k := newKeyAlerts(func(notify.Event) { sent++ }, c, slog.New(slog.NewTextHandler(&log, nil)))
	many := func() {
		for i := range 10 * alertsPerMinute {
			k.note(app.App{Name: "orders"}, "", retiredUsed(fmt.Sprint("key", i), keyring.Public))
		}
	}
	if many(); sent != alertsPerMinute {
		t.Errorf("%d in a minute", sent)
	}
	c.Advance(time.Minute)
	if many(); sent != 2*alertsPerMinute {
		t.Errorf("%d in two minutes", sent)
	}
	if !strings.Contains(log.String(), fmt.Sprint("dropped=", 9*alertsPerMinute)) {
		t.Errorf("log: %s", log.String())
	}
}
