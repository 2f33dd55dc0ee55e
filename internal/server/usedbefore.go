package server

import (
	"context"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

// ranFile says by being there that the app ran with its keys.
const ranFile = "ran"

// ranBefore reports whether the app ever ran with its keys, by what only a start
// writes to the data folder.
func ranBefore(cfg Config) bool {
	for _, file := range []string{ranFile, keynotes.UsesFile} {
		if _, err := os.Lstat(filepath.Join(cfg.DataDir, keyNotesDir, file)); err == nil {
			return true
		}
	}
	return false
}

// noteRan writes down that the app ran, once its keys are known. Where that cannot be
// written the next start is taken for the first one.
func (n *Node) noteRan(ctx context.Context) {
	if ranBefore(n.cfg) || n.keys.Health().State == keyring.Unavailable {
		return
	}
	if _, err := n.keys.Get(ctx, keyring.MasterKey(), accesskey.MasterName); err != nil {
		return
	}
	ignoreInGit(n.cfg.DataDir)
	dir := filepath.Join(n.cfg.DataDir, keyNotesDir)
	if atomicfile.MakeDir(dir) == nil {
		_ = atomicfile.Create(filepath.Join(dir, ranFile), nil)
	}
}

// mayMake says where keys may be made. Where the host's keys are missing from the
// store of an app that ran before, they have gone: a folder that is not mounted, or
// settings that name another store. None are made in their place then, which would
// lock out all callers, unless the word was given that new ones are wanted.
func mayMake(cfg Config, store keystore.Store) func(context.Context, keystore.Doc) error {
	if cfg.NewKeys || !ranBefore(cfg) {
		return nil // the first keys are made by whoever comes first
	}
	return func(ctx context.Context, doc keystore.Doc) error {
		if !doc.IsHost() {
			if _, _, err := store.Load(ctx, keystore.HostDoc); problem.KindOf(err) != keystore.ErrNotFound {
				return nil
			}
		}
		return problem.New(problem.Unavailable, "the app ran before, and its keys are not in "+store.String()+"; none were made in their place").
			WithNext("bring them back: mount the folder, restore a backup, or name the store that has them in AzureWebJobsSecretStorageType; " +
				"if new keys are wanted, which every caller then needs: latchkey start --new-keys")
	}
}
