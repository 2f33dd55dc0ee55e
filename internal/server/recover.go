package server

import (
	"context"
	"log/slog"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/recovery"
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
	return recovery.Discard(ctx, view.store, doc)
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
	return recovery.Restore(ctx, store, doc, from)
}
