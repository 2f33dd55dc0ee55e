package functions

import (
	"context"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
)

// KeyMigration says what is to be copied where.
type KeyMigration struct {
	// From and To are stores as the setting AzureWebJobsSecretStorageType names them;
	// "controlplane" is the installation's own, and so is "files".
	From, To string
	// Apply copies; without it nothing is changed.
	Apply bool
	// Replace lets keys of the source take the place of an old copy in the destination.
	Replace bool
}

// KeyMigrated tells how documents stand. It holds no values.
type KeyMigrated struct {
	From, To string // for people
	Done     bool   // all of it was copied, or was there before
	Steps    []migrate.Step
}

// KeyStores moves keys between the stores of an app.
type KeyStores interface {
	// MigrateKeys plans or does a migration, as the app's own identities. It returns
	// problem.Invalid for stores that cannot be and problem.Conflict where keys in
	// use would be replaced or were changed meanwhile.
	MigrateKeys(ctx context.Context, app string, m KeyMigration) (KeyMigrated, error)
}

// migrationJSON is a migration as it is shown.
type migrationJSON struct {
	From      string         `json:"from"`
	To        string         `json:"to"`
	Done      bool           `json:"done"`
	Documents []documentJSON `json:"documents"`
}

type documentJSON struct {
	Document string        `json:"document"`
	Keys     int           `json:"keys"`
	State    migrate.State `json:"state"`
	Replaced []string      `json:"replaced,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Next     string        `json:"next,omitempty"`
}

// migrateKeys copies the keys of an app from one store to another. Values stay on
// this side: the answer has names only.
func (p *Provider) migrateKeys(c *arm.Call) (arm.Reply, error) {
	var in struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Apply   bool   `json:"apply"`
		Replace bool   `json:"replace"`
	}
	if err := c.JSON(&in); err != nil {
		return arm.Reply{}, err
	}
	for name, value := range map[string]string{"from": in.From, "to": in.To} {
		if value == "" {
			return arm.Reply{}, problem.New(problem.Invalid, name+" is missing").
				WithNext("name stores: controlplane, blob or keyvault")
		}
	}
	app, err := p.app(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if p.cfg.KeyStores == nil {
		return arm.Reply{}, problem.New(problem.Unsupported, "keys cannot be moved here")
	}
	done, err := p.cfg.KeyStores.MigrateKeys(c.Context(), app.Name, KeyMigration(in))
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(describeMigration(done)), nil
}

func describeMigration(m KeyMigrated) migrationJSON {
	out := migrationJSON{From: m.From, To: m.To, Done: m.Done, Documents: []documentJSON{}}
	for _, s := range m.Steps {
		d := documentJSON{Document: string(s.Doc), Keys: s.Keys, State: s.State, Replaced: s.Replaced, Next: problem.NextOf(s.Err)}
		if s.Err != nil {
			d.Reason = s.Err.Error()
		}
		out.Documents = append(out.Documents, d)
	}
	return out
}
