package reference

import (
	"context"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
)

type gate struct{}
type schedule struct{}

func (s *schedule) size() int          { return 0 }
func (r *Resolver) leading() *schedule { return nil }

// Run keeps references resolved until ctx ends, which is the only reason for it
// to return.
func (r *Resolver) Run(ctx context.Context) { <-ctx.Done() }

// Changed says that a secret of a vault may have changed: the apps that refer to
// it fetch it again. secret is "" for all of the vault. It does nothing on nodes
// that do not refresh.
func (r *Resolver) Changed(vault, secret string) {}

// Retry fetches references that failed again, because permissions may have
// changed.
func (r *Resolver) Retry() {}

// Poke fetches all references again, because changes may have been missed.
func (r *Resolver) Poke() {}

// Values gives what a running copy of an app is to have: its settings with
// references replaced by their last good values, else left as they are.
// References that were not attempted since the app became what it is are fetched
// first, within Config.Opening. With Config.Refuse it returns problem.Unavailable
// naming a reference without a value.
func (r *Resolver) Values(ctx context.Context, a app.Snapshot) (Values, error) {
	return Values{Settings: a.Settings, Connections: a.Connections}, nil
}

// Report says how the references in a section of an app stand, in order of names.
// It reads what is stored and never fetches.
func (r *Resolver) Report(ctx context.Context, a app.App, section app.Section) ([]Report, error) {
	return nil, problem.New(problem.Unsupported, "references are not resolved yet")
}

// Refresh fetches all references of an app now. How that went is in Report; the
// error says only that it could not be found out.
func (r *Resolver) Refresh(ctx context.Context, a app.App) error { return nil }

// All gives the references of all apps that have some.
func (r *Resolver) All(ctx context.Context) ([]Summary, error) { return nil, nil }
