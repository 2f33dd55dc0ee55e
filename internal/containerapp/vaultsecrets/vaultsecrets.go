// Package vaultsecrets owns the values of container apps' secrets: those that were
// set by value, and those that are in a vault, read by the control plane with an
// identity of the app and kept from then on. That they survive whatever happens to
// vaults and apps, how it went, and that a change makes active revisions start
// anew is the work of package reference, to which container apps are shown as what
// it knows.
//
// It does not know where secrets are kept, who may read them, or how apps run.
package vaultsecrets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/state"
)

// Config is what Secrets need.
type Config struct {
	Apps   *containerapp.Apps
	Store  state.Store
	Source reference.Source
	// Identify gives an identity of an app: "system" or a resource id.
	// problem.NotFound says that the app has no such identity.
	Identify func(ctx context.Context, a containerapp.App, which string) (identity.Assigned, error)
	// OnChange, if set, is told when a secret of a vault stands otherwise than before;
	// Event.Setting is the secret's name in the app. It must not block.
	OnChange func(reference.Event)
	// Interval is the time between reads of secrets without a version, by which changes
	// in vaults are found that nobody tells of; 0 is the resolver's default.
	Interval time.Duration
	Opening  time.Duration // how long Values waits for vaults; 0 is the resolver's default
	Clock    clock.Clock
	Log      *slog.Logger
}

// Secrets give the values of container apps' secrets. They are safe for concurrent
// use, and may run on several nodes with one state.
type Secrets struct {
	*reference.Resolver // for Run, Changed, Poke, Retry, Forget and Stats
}

// New makes secrets.
func New(c Config) *Secrets {
	return &Secrets{reference.New(reference.Config{
		Store: c.Store, Clock: c.Clock, Log: c.Log, Source: c.Source, OnChange: c.OnChange, Interval: c.Interval, Opening: c.Opening,
		Apps: holders{c.Apps}, Type: containerapp.Type, Decode: decode, Reader: reader, Lease: "container-secrets",
		Identify: func(ctx context.Context, a app.Snapshot) (identity.Assigned, error) {
			now, err := c.Apps.Get(ctx, a.ID)
			if err == nil && now.UID != a.UID {
				err = problem.New(problem.NotFound, "the app is gone")
			}
			if err != nil {
				return identity.Assigned{}, err
			}
			if a.ReferenceIdentity == ownIdentity {
				return c.Identify(ctx, now, system)
			}
			return c.Identify(ctx, now, a.ReferenceIdentity)
		},
		Touch: func(ctx context.Context, a app.App) (app.App, error) {
			now, err := c.Apps.Touch(ctx, a.ID)
			return shown(now), err
		},
	})}
}

// Values gives the values of all secrets of an app by name. Those of vaults that
// were not read since the app became what it is are read first; when that fails,
// the last good value is given. The error, of a secret that never had one, names the
// secret, its address and the identity: problem.Denied, problem.NotFound or
// problem.Unavailable; the app is touched when it is there. The map belongs to the
// caller.
func (s *Secrets) Values(ctx context.Context, a containerapp.App) (map[string]string, error) {
	values := maps.Clone(a.Secrets)
	if values == nil {
		values = map[string]string{}
	}
	snapshot := shownWhole(a)
	if len(snapshot.Settings) == 0 {
		return values, nil
	}
	read, err := s.Resolver.Values(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	for _, p := range read.Unresolved {
		if !p.Stale {
			return nil, unread(a, p)
		}
	}
	maps.Copy(values, read.Settings)
	return values, nil
}

// Value gives the value of one secret of an app, as Values does, whatever becomes of
// the others. problem.NotFound if the app has no such secret.
func (s *Secrets) Value(ctx context.Context, a containerapp.App, name string) (string, error) {
	if v, by := a.Secrets[name]; by {
		return v, nil
	}
	snapshot := shownWhole(a)
	if _, has := snapshot.Settings[name]; !has {
		return "", problem.New(problem.NotFound, "container app "+a.Name+" has no secret "+name)
	}
	read, err := s.Resolver.Values(ctx, snapshot)
	if err != nil {
		return "", err
	}
	for _, p := range read.Unresolved {
		if p.Setting == name && !p.Stale {
			return "", unread(a, p)
		}
	}
	return read.Settings[name], nil
}

// Report says how the secrets of an app stand that are in vaults, in order of names.
// It never waits for vaults.
func (s *Secrets) Report(ctx context.Context, a containerapp.App) ([]reference.Report, error) {
	return s.Resolver.Report(ctx, shown(a), app.AppSettings)
}

// Refresh reads all secrets of an app that are in vaults now; Report says how that
// went. The error says only that it could not be found out.
func (s *Secrets) Refresh(ctx context.Context, a containerapp.App) error {
	return s.Resolver.Refresh(ctx, shown(a))
}

// Version gives a text that is another one when a value of an app's secrets changes,
// or there are other secrets. It tells nothing about values.
func (s *Secrets) Version(ctx context.Context, a containerapp.App) (string, error) {
	list, err := s.Report(ctx, a)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, a.UID)
	for _, r := range list {
		fmt.Fprintf(sum, "%q %q %d\n", r.Setting, r.Version, r.GoodSince.UnixNano())
	}
	for _, name := range slices.Sorted(maps.Keys(a.Secrets)) {
		fmt.Fprintf(sum, "%q\n", name)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}
