package server

import (
	"context"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

// usedBefore is the key store of an app that ran with this data folder. Where the
// host's keys are missing from it, they have gone: a folder that is not mounted,
// or settings that name another store. The commands then make none in their
// place, since a running app would take them for a change and drop those that
// its callers have. A start makes them: it is the word that new ones are wanted.
type usedBefore struct{ keystore.Store }

// keepMissing gives the store for looking at keys and changing them from outside
// of the running app.
func keepMissing(cfg Config, store keystore.Store) keystore.Store {
	if ranBefore(cfg) {
		return usedBefore{store}
	}
	return store // the first keys are made by whoever comes first
}

// ranBefore reports whether the app was ever started with its data folder, by
// what only a start writes there.
func ranBefore(cfg Config) bool {
	for _, file := range []string{keynotes.RosterFile, keynotes.UsesFile} {
		if _, err := os.Lstat(filepath.Join(cfg.DataDir, keyNotesDir, file)); err == nil {
			return true
		}
	}
	return false
}

// Update implements keystore.Store.
func (u usedBefore) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	return u.Store.Update(ctx, doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		if !exists {
			if err := u.there(ctx, doc); err != nil {
				return keystore.Document{}, err
			}
		}
		return change(old, exists)
	})
}

// there returns problem.Unavailable unless the store has the host's keys: what is
// not where it was cannot be reached.
func (u usedBefore) there(ctx context.Context, doc keystore.Doc) error {
	if !doc.IsHost() {
		if _, _, err := u.Store.Load(ctx, keystore.HostDoc); problem.KindOf(err) != keystore.ErrNotFound {
			return nil
		}
	}
	return problem.New(problem.Unavailable, "the app ran before, and its keys are not in "+u.Store.String()+"; none were made in their place").
		WithNext("bring them back: mount the folder, restore a backup, or name the store that has them in AzureWebJobsSecretStorageType; " +
			"if new keys are wanted, which every caller then needs, start the app without them")
}
