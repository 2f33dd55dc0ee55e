package server

import (
	"context"

	"github.com/latchkey/latchkey/internal/keyowners"
	"github.com/latchkey/latchkey/internal/keystore"
)

// OpenOwners reads all keys in the store of the app in cfg.Dir, those of
// functions that are gone included. Nothing is created or changed. It returns
// problem.Unsupported for a store this version does not have, and the error of
// the store if its documents cannot be listed.
func OpenOwners(ctx context.Context, cfg Config) (*keyowners.Owners, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	view, err := viewKeys(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	var o keyowners.Owners
	return &o, o.Read(ctx, view.store, appName(cfg.Dir, s), functionNames(cfg))
}

// functionNames gives the names of an app's functions by document; none if the
// folder is not an app's.
func functionNames(cfg Config) map[keystore.Doc]string {
	names := map[keystore.Doc]string{}
	model, err := knownModel(cfg)
	if err != nil {
		return names
	}
	for i := range model.Functions {
		name := model.Functions[i].Name
		names[keystore.FunctionDoc(name)] = name
	}
	return names
}
