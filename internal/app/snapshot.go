package app

import (
	"context"
	"encoding/json"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
)

// Snapshot is all that a running copy is made from, as it was at one moment.
type Snapshot struct {
	App
	Settings        map[string]string     // values as they were set, references not resolved
	Connections     map[string]Connection // likewise
	Web             json.RawMessage       // what was set of the configuration; nil for nothing
	StorageAccounts json.RawMessage
}

// Snapshot reads an app with its settings and configuration, all of one
// generation. It returns problem.Conflict if they kept changing meanwhile.
func (a *Apps) Snapshot(ctx context.Context, id resource.ID) (Snapshot, error) {
	return inventory.Retry(ctx, "app", id, func() (Snapshot, error) {
		app, before, err := a.get(ctx, id)
		if err != nil {
			return Snapshot{}, err
		}
		s, err := a.readParts(ctx, app)
		if err != nil {
			return s, err
		}
		_, after, err := a.get(ctx, id)
		if err == nil && after != before {
			err = inventory.ErrStale
		}
		return s, err
	})
}

func (a *Apps) readParts(ctx context.Context, app App) (s Snapshot, err error) {
	parts := map[Section]json.RawMessage{AppSettings: nil, ConnectionStrings: nil, Web: nil, StorageAccounts: nil}
	for section := range parts {
		r, err := a.readSection(ctx, app.ID, section)
		if err != nil {
			return s, err
		}
		parts[section] = r.Properties
	}
	s = Snapshot{App: app, Web: parts[Web], StorageAccounts: parts[StorageAccounts]}
	if s.Settings, err = decodeMap[string](app.ID, AppSettings, parts[AppSettings]); err != nil {
		return s, err
	}
	s.Connections, err = decodeMap[Connection](app.ID, ConnectionStrings, parts[ConnectionStrings])
	return s, err
}
