package platform

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/notify"
)

// Bounds of alerts about former values of keys, on each node.
const (
	alertEvery      = time.Hour // for one value, class of source and outcome
	alertsPerMinute = 30        // in all
	alertsKnown     = 4096      // values and classes that are remembered
)

// keyAlerts tells a webhook that former values of keys are used. It is safe for
// concurrent use and never waits.
type keyAlerts struct {
	send  func(notify.Event)
	clock clock.Clock
	log   *slog.Logger

	mu      sync.Mutex
	told    *lru.Cache[alertID, time.Time]
	minute  time.Time // when the present minute began
	sent    int       // in it
	dropped int       // in it
}

type alertID struct {
	place, retired string
	kind           accesskey.Kind
	function       string
	from           keyring.AddressClass
	works          bool
}

// retiredUse is what a webhook is told. Its form is a contract.
type retiredUse struct {
	App      string     `json:"app"`
	Function string     `json:"function,omitempty"` // that was called
	Kind     string     `json:"kind"`
	Key      string     `json:"key"`
	Retired  string     `json:"retired"` // the name of the former value
	Ends     *time.Time `json:"ends,omitempty"`
	Works    bool       `json:"works"`            // the request was let in
	Reason   string     `json:"reason,omitempty"` // why not
	Source   string     `json:"source"`           // loopback, private, public or unknown
}

func newKeyAlerts(send func(notify.Event), c clock.Clock, log *slog.Logger) *keyAlerts {
	told, _ := lru.New[alertID, time.Time](alertsKnown) // fails for sizes below 1
	return &keyAlerts{send: send, clock: c, log: log, told: told}
}

// note tells of an event if it is about a former value and was not told lately. A
// nil keyAlerts tells nobody.
func (k *keyAlerts) note(a app.App, scope string, e keyring.Event) {
	if k == nil || e.Retired == "" || e.Type != keyring.RetiredKeyUsed && e.Type != keyring.KeyRefused {
		return
	}
	id := alertID{place: keyPlace(a), retired: e.Retired, kind: e.Kind, from: e.From, works: e.Type == keyring.RetiredKeyUsed}
	if e.Kind == accesskey.Function {
		id.function = e.Function
	}
	now := k.clock.Now()
	if !k.admit(id, now) {
		return
	}
	use := retiredUse{
		App: a.Name, Function: e.Function, Kind: e.Kind.String(), Key: e.Name, Retired: e.Retired, Works: id.works, Source: e.From.String(),
	}
	if _, ends, ok := accesskey.ParseRetiredName(e.Retired); ok {
		use.Ends = &ends
	}
	if !use.Works {
		use.Reason = e.Reason.String()
	}
	k.send(notify.Event{Type: "dev.latchkey.key.retiredUsed", Subject: scope, Time: now, Data: use})
}

// admit reports whether an alert is due and there is room for it.
func (k *keyAlerts) admit(id alertID, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, ok := k.told.Get(id); ok && between(now.Sub(last), alertEvery) {
		return false
	}
	if !between(now.Sub(k.minute), time.Minute) {
		if k.dropped > 0 {
			k.log.Warn("alerts about former values of keys were dropped: too many in a minute", "dropped", k.dropped)
		}
		k.minute, k.sent, k.dropped = now, 0, 0
	}
	if k.sent >= alertsPerMinute {
		k.dropped++ // not noted as told: its next use alerts
		return false
	}
	k.sent++
	k.told.Add(id, now)
	return true
}

// between reports that a time passed is shorter than a bound; a clock that was set
// back begins anew.
func between(passed, bound time.Duration) bool { return passed >= 0 && passed < bound }
