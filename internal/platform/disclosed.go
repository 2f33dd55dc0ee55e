package platform

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/vault"
)

// Bounds of what is remembered of reads for references.
const (
	mostDisclosed = 16 << 10
	disclosedFor  = 24 * time.Hour
)

// disclosed remembers which version of a secret an identity has been given, and
// what it was refused with: references are read again every few minutes, and a
// record full of that would hide what matters. What is forgotten is recorded again.
type disclosed struct {
	known *lru.Cache[disclosure, readOutcome]
}

type disclosure struct{ principal, app, vault, secret, pinned string }

type readOutcome struct {
	version, reason string
	failed          bool
	at              time.Time
}

func newDisclosed() *disclosed {
	known, err := lru.New[disclosure, readOutcome](mostDisclosed)
	if err != nil {
		panic(err) // only for a size that is none
	}
	return &disclosed{known}
}

// record records a read for a reference unless it told nothing new.
func (d *disclosed) record(n *Node, v vault.Vault, q reference.Query, version string, err error) {
	key := disclosure{q.Identity.ObjectID, q.App.Key(), v.UID, q.Secret, q.Version}
	now := readOutcome{version: version, reason: codeOf(err), failed: err != nil, at: n.cfg.Clock.Now()}
	before, known := d.known.Get(key)
	age := now.at.Sub(before.at)
	before.at = now.at
	if known && before == now && age >= 0 && age < disclosedFor {
		return
	}
	d.known.Add(key, now)
	n.audit.Record(readEvent(v, q, version, err))
}

// readEvent is a read of a secret for an app.
func readEvent(v vault.Vault, q reference.Query, version string, err error) audit.Event {
	event := audit.Event{
		Category: audit.SecretRead, Action: vault.Get.Action(), Scope: v.ID.String() + "/secrets/" + q.Secret, Outcome: "Succeeded",
		Principal: audit.Principal{ObjectID: q.Identity.ObjectID, AppID: q.Identity.AppID, Name: q.Identity.ResourceID},
		Details:   map[string]string{"app": q.App.String(), "for": "reference"},
	}
	if version != "" {
		event.Details["version"] = version
	}
	switch {
	case err != nil && problem.KindOf(err) == problem.Denied:
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", codeOf(err)
	case err != nil:
		event.Outcome, event.Reason = "Failed", codeOf(err)
	}
	return event
}
