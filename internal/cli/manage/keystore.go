package manage

import "context"

// KeyMigration says what is to be copied where; stores are named as in
// AzureWebJobsSecretStorageType, "controlplane" is the installation's own.
type KeyMigration struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Apply   bool   `json:"apply"`
	Replace bool   `json:"replace"`
}

// KeyMigrated is how the documents of a migration stand.
type KeyMigrated struct {
	From      string        `json:"from"`
	To        string        `json:"to"`
	Done      bool          `json:"done"`
	Documents []KeyDocument `json:"documents"`
}

// KeyDocument is one document of keys.
type KeyDocument struct {
	Document string   `json:"document"`
	Keys     int      `json:"keys"`
	State    string   `json:"state"`
	Replaced []string `json:"replaced,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Next     string   `json:"next,omitempty"`
}

// MigrateKeys copies the keys of an app to another store, or says what that would
// do. It returns problem.Conflict if keys were changed meanwhile; trying again goes on.
func (i *Installation) MigrateKeys(ctx context.Context, a App, m KeyMigration) (done KeyMigrated, err error) {
	err = i.post(ctx, idPath(a.ID)+"/host/default/migratekeys", m, &done)
	return done, err
}
