package keys

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// key is what the management API says of a key, which is never its value.
type key struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"` // master, host, system or function
	ETag      string     `json:"etag"` // another one once anything about the key is, its value too
	State     string     `json:"state"`
	Note      string     `json:"note"`
	Owner     string     `json:"owner"`
	Created   *time.Time `json:"created"`
	NotBefore *time.Time `json:"notBefore"`
	Expires   *time.Time `json:"expires"`
	Disabled  bool       `json:"disabled"`

	Methods   []string `json:"methods"`
	Functions []string `json:"functions"`
	CIDRs     []string `json:"cidrs"`
	Rate      *struct {
		N     int    `json:"n"`
		Per   string `json:"per"`
		Burst int    `json:"burst"`
	} `json:"rate"`
	Quota *struct {
		N   int    `json:"n"`
		Per string `json:"per"`
	} `json:"quota"`

	RotateEvery string     `json:"rotateEvery"`
	RotatesAt   *time.Time `json:"rotatesAt"`
	Retires     string     `json:"retires"` // the key that this is a former value of
	Retiring    []former   `json:"retiring"`
	HashOnly    bool       `json:"hashOnly"`

	Uses     int64      `json:"uses"`
	LastUsed *time.Time `json:"lastUsed"`
	From     string     `json:"lastUsedFrom"`
}

// former is a former value that still works.
type former struct {
	Name  string     `json:"name"`
	Until time.Time  `json:"until"`
	Last  *time.Time `json:"lastUsed"`
	Uses  int64      `json:"uses"`
}

// state is how a key is shown: a text and whether that is good.
type state struct{ Text, Kind string }

var states = map[string]state{
	"active": {"key.active", "good"}, "disabled": {"key.disabled", "warn"}, "expired": {"key.expired", "bad"}, "notYetValid": {"key.notyet", "warn"},
	"retiring": {"key.retiring", "warn"}, "retired": {"key.retired", ""}, "quarantined": {"key.quarantined", "warn"}, "broken": {"key.broken", "bad"},
}

// Shown gives the state for people.
func (k key) Shown() state {
	if s, known := states[k.State]; known {
		return s
	}
	return state{"key.unknown", ""}
}

// Section gives the part of the address that says which keys it is among.
func (k key) Section() string { return k.Kind }

// Master reports whether it is the master key, which can be replaced only.
func (k key) Master() bool { return k.Kind == "master" }

// Former reports whether it is a former value of another key.
func (k key) Former() bool { return k.Retires != "" }

// Works reports whether whoever presents the value gets in.
func (k key) Works() bool { return k.State == "active" || k.State == "retiring" }

// listed puts keys in the order in which they are shown: those that are new first
// by name, each followed by its former values.
func listed(all []key) []key {
	base := func(k key) string {
		if k.Retires != "" {
			return k.Retires
		}
		return k.Name
	}
	slices.SortStableFunc(all, func(a, b key) int {
		return cmp.Or(
			strings.Compare(strings.ToLower(base(a)), strings.ToLower(base(b))),
			strings.Compare(a.Retires, b.Retires), strings.Compare(a.Name, b.Name),
		)
	})
	return all
}
