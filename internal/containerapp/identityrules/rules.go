// Package identityrules owns which of a container app's identities a container may
// get tokens of: by the role it has in its replica, init or main, by the lifecycle
// that the app sets for each identity, and by the kind of environment. It does not
// know how a container proves its role, how tokens are made, or what an app is.
package identityrules

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/resource"
)

// System is how settings name the app's own identity.
const System = "system"

// Lifecycle says in which containers an identity's tokens can be had.
type Lifecycle string

// Lifecycles. With None, only the platform uses the identity: to pull images, to
// read secrets, to scale.
const (
	All  Lifecycle = "All" // also of identities without a setting
	Init Lifecycle = "Init"
	Main Lifecycle = "Main"
	None Lifecycle = "None"
)

// ParseLifecycle reads a lifecycle whatever its case; "" is [All]. ok is false for
// what is none.
func ParseLifecycle(text string) (l Lifecycle, ok bool) {
	if text == "" {
		return All, true
	}
	for _, l := range []Lifecycle{All, Init, Main, None} {
		if strings.EqualFold(text, string(l)) {
			return l, true
		}
	}
	return "", false
}

// Role is what a container is in its replica.
type Role string

// Roles of containers.
const (
	InitContainer Role = "init"
	MainContainer Role = "main"
)

// Setting is the lifecycle of one identity.
type Setting struct {
	Identity  string // [System] or a resource id, whatever its case
	Lifecycle Lifecycle
}

// Rules decide for one app. The zero value lets every container use every
// identity. Rules are immutable.
type Rules struct {
	settings []Setting
	noInit   bool
}

// New makes the rules of an app. noInit says that init containers get no tokens at
// all, as in environments without workload profiles and on dedicated profiles.
func New(settings []Setting, noInit bool) Rules {
	return Rules{slices.Clone(settings), noInit}
}

// Lifecycle gives the lifecycle of an identity.
func (r Rules) Lifecycle(a identity.Assigned) Lifecycle {
	for _, s := range r.settings {
		if names(s.Identity, a) {
			return s.Lifecycle
		}
	}
	return All
}

// names reports whether a setting's text means an identity.
func names(text string, a identity.Assigned) bool {
	if a.System {
		return strings.EqualFold(text, System)
	}
	return SameIdentity(text, a.ResourceID)
}

// SameIdentity compares how two settings name identities: ids without regard to
// case, nor to how fixed segments are spelled.
func SameIdentity(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, err := resource.Parse(a)
	if err != nil {
		return false
	}
	y, err := resource.Parse(b)
	return err == nil && x.Equal(y)
}

// Verdict is a decision with its reason, which is for operators.
type Verdict struct {
	Allowed bool
	Reason  string // of a refusal; "" otherwise
}

// Decide says whether a container of a role may get tokens of an identity that the
// app has.
func (r Rules) Decide(a identity.Assigned, role Role) Verdict {
	life := r.Lifecycle(a)
	switch {
	case role != InitContainer && role != MainContainer:
		return Verdict{Reason: "the container has no role that gets tokens"}
	case life == None:
		return Verdict{Reason: "the identity's lifecycle is None: containers get no tokens of it"}
	case life == Init && role != InitContainer:
		return Verdict{Reason: "the identity's lifecycle is Init: only init containers get tokens of it"}
	case life == Main && role != MainContainer:
		return Verdict{Reason: "the identity's lifecycle is Main: init containers get no tokens of it"}
	case life != All && life != Init && life != Main:
		return Verdict{Reason: "the identity's lifecycle is unknown"}
	case role == InitContainer && r.noInit:
		return Verdict{Reason: "init containers get no tokens in this kind of environment"}
	}
	return Verdict{Allowed: true}
}

// Usable gives those of an app's identities that a container of a role may get
// tokens of, in the same order.
func (r Rules) Usable(all []identity.Assigned, role Role) []identity.Assigned {
	var list []identity.Assigned
	for _, a := range all {
		if r.Decide(a, role).Allowed {
			list = append(list, a)
		}
	}
	return list
}
