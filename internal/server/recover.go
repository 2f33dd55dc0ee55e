package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// DiscardKeys gives up a key document that cannot be used: it keeps a copy beside it,
// whose name it returns, and takes the document away, so that new keys are made. It
// returns problem.Conflict for a document that opens, problem.NotFound without one and
// problem.Unsupported for a store that keeps no copies.
func DiscardKeys(ctx context.Context, cfg Config, doc keystore.Doc) (name string, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return "", err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	if err := checkPlace(cfg, s, placeOf(cfg.DataDir, s)); err != nil {
		return "", err
	}
	// Without the keyset, which may be what is missing, and without making one.
	view, err := openKeyView(ctx, cfg, s, true)
	if err != nil {
		return "", err
	}
	copier, ok := view.store.(keystore.Copier)
	if !ok {
		return "", noCopies(view.store)
	}
	switch _, _, err := view.store.Load(ctx, doc); {
	case err == nil:
		return "", problem.New(problem.Conflict, fmt.Sprintf("key document %q opens; it is not discarded", string(doc))).
			WithNext("to change single keys use latchkey keys renew or latchkey keys delete")
	case problem.KindOf(err) != keystore.ErrUndecryptable:
		return "", err
	}
	if name, err = copier.Preserve(ctx, doc); err != nil {
		return "", err
	}
	return name, view.store.Delete(ctx, doc)
}

// RestoreKeys makes a copy of a key document the document again: what is there instead
// is kept as a copy first, whose name it returns, "" if there was nothing. It
// returns problem.Undecryptable for a copy that does not open either, problem.Invalid
// or problem.NotFound for a name that is none, and problem.Unsupported for a store that
// keeps no copies.
func RestoreKeys(ctx context.Context, cfg Config, doc keystore.Doc, from string) (kept string, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return "", err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	store, _, err := openStore(ctx, cfg, s, telemetry.NewLogger(cfg.Log, cfg.LogFormat, slog.LevelWarn))
	if err != nil {
		return "", err
	}
	copier, ok := store.(keystore.Copier)
	if !ok {
		return "", noCopies(store)
	}
	d, err := copier.LoadCopy(ctx, doc, from)
	if err != nil {
		return "", err
	}
	_, _, err = store.Load(ctx, doc)
	if kind := problem.KindOf(err); err != nil && kind != keystore.ErrUndecryptable && kind != keystore.ErrNotFound {
		return "", err
	}
	if problem.KindOf(err) != keystore.ErrNotFound || err == nil {
		if kept, err = keep(ctx, store, copier, doc, err != nil); err != nil {
			return "", err
		}
	}
	_, _, err = store.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
	return kept, err
}

// keep copies a document, and takes it away if nothing else can take its place.
func keep(ctx context.Context, store keystore.Store, copier keystore.Copier, doc keystore.Doc, damaged bool) (string, error) {
	name, err := copier.Preserve(ctx, doc)
	if err != nil || !damaged {
		return name, err
	}
	return name, store.Delete(ctx, doc)
}

func noCopies(s keystore.Store) error {
	return problem.New(problem.Unsupported, s.String()+" keeps no copies of documents").
		WithNext("its documentation in docs/stores says how keys are restored there")
}
