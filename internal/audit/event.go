// Package audit owns the record of what was done and refused: events appended to
// the state as a chain in which each has the hash of the former, so that a changed,
// missing or moved event is found. It does not know what actions mean or who may
// read the record, and it never holds a credential: who makes an event leaves
// those out.
package audit

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/telemetry"
)

// Category says what kind of event it is.
type Category string

// Categories.
const (
	Write      Category = "Write"      // something was changed
	SecretRead Category = "SecretRead" // a key, setting or credential was read
	Denied     Category = "Denied"     // somebody was refused
	SignIn     Category = "SignIn"     // a token was given out or refused
	System     Category = "System"     // the platform did something by itself
)

// Principal is who did it. All of it may be empty.
type Principal struct {
	ObjectID string `json:"objectId,omitempty"`
	AppID    string `json:"appId,omitempty"`
	Name     string `json:"name,omitempty"`
}

// Event is one thing that happened. It never has a credential in it.
type Event struct {
	Time          time.Time         `json:"time"` // zero is now
	Category      Category          `json:"category"`
	Action        string            `json:"action"`          // "Microsoft.Web/sites/write"
	Scope         string            `json:"scope,omitempty"` // id of the resource it is about
	Principal     Principal         `json:"principal,omitzero"`
	Source        string            `json:"source,omitempty"`  // address; a port is taken off
	Outcome       string            `json:"outcome,omitempty"` // "Succeeded", "Failed", "Denied"
	Status        int               `json:"status,omitempty"`  // as answered
	Reason        string            `json:"reason,omitempty"`
	CorrelationID string            `json:"correlationId,omitempty"`
	Node          string            `json:"node,omitempty"` // "" gets the log's
	Details       map[string]string `json:"details,omitempty"`

	// Count is how many events were merged into this one, the first of them at Time
	// and the last at Until; 0 means that it is just one.
	Count int       `json:"count,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// Limits of an event; what is longer is cut, not refused.
const (
	maxText    = 2048 // bytes of every text
	maxDetails = 20
	maxName    = 100 // bytes of a detail's name
	maxDetail  = 512 // bytes of a detail
)

// fit gives the event within its limits, but for its details.
func (e Event) fit() Event {
	for _, text := range []*string{
		(*string)(&e.Category), &e.Action, &e.Scope, &e.Principal.ObjectID, &e.Principal.AppID, &e.Principal.Name,
		&e.Source, &e.Outcome, &e.Reason, &e.CorrelationID, &e.Node,
	} {
		*text = cut(*text, maxText)
	}
	e.Time, e.Until = e.Time.UTC().Round(0), e.Until.UTC().Round(0)
	return e
}

// detailed gives the event with its details within their limits, as a copy. It is
// apart because events that only repeat others need it not.
func (e Event) detailed() Event {
	if len(e.Details) == 0 {
		e.Details = nil
		return e
	}
	details := make(map[string]string, min(len(e.Details), maxDetails))
	for _, name := range slices.Sorted(maps.Keys(e.Details))[:min(len(e.Details), maxDetails)] {
		details[cut(name, maxName)] = cut(e.Details[name], maxDetail)
	}
	e.Details = details
	return e
}

// cut hides what is a secret by its form, and then cuts: paths and names come from
// callers, who put keys into them.
func cut(s string, most int) string {
	s = telemetry.RedactText(s)
	if len(s) > most {
		s = s[:most-len("…")] + "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
