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

// KeyCheck is one finding about the keys of an app; in JSON as in an array of doctor.
type KeyCheck struct {
	Check   string `json:"check"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// CheckKeys asks the installation how the key store of an app does.
func (i *Installation) CheckKeys(ctx context.Context, a App) ([]KeyCheck, error) {
	var out struct {
		Value []KeyCheck `json:"value"`
	}
	err := i.post(ctx, idPath(a.ID)+"/host/default/checkkeys", nil, &out)
	return out.Value, err
}

// KeyDiscarded is what became of a document that was given up.
type KeyDiscarded struct {
	Copy    string `json:"copy"`
	NotMade string `json:"notMade"` // why there are no new keys; "" if there are
	Next    string `json:"next"`
}

// DiscardKeys gives up a document that does not open. It returns problem.Conflict for
// one that opens.
func (i *Installation) DiscardKeys(ctx context.Context, a App, doc string) (out KeyDiscarded, err error) {
	err = i.post(ctx, idPath(a.ID)+"/host/default/discardkeys", map[string]string{"document": doc}, &out)
	return out, err
}

// RestoreKeys makes a copy the document again and gives the name of the copy of what
// was there, "" for nothing.
func (i *Installation) RestoreKeys(ctx context.Context, a App, doc, from string) (kept string, err error) {
	var out struct {
		Copy string `json:"copy"`
	}
	err = i.post(ctx, idPath(a.ID)+"/host/default/restorekeys", map[string]string{"document": doc, "copy": from}, &out)
	return out.Copy, err
}
