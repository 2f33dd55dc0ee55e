package server

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

// keyNotesDir is the folder in the data folder for what is known of keys outside
// their store.
const keyNotesDir = "keys"

func keyNotes(cfg Config) (*keynotes.Uses, *keynotes.Restrictions) {
	return keynotes.Open(keynotes.Config{
		Dir: filepath.Join(cfg.DataDir, keyNotesDir), Prepare: func() { ignoreInGit(cfg.DataDir) },
	})
}

// tendEvery is how often keys are looked over. Looking costs no request to the
// store; only what is due does.
const tendEvery = time.Minute

// tendKeys rotates keys that are due and removes former values that ended long
// ago, until ctx ends.
func (n *Node) tendKeys(ctx context.Context) {
	told := ""
	for {
		told = n.tendOnce(ctx, told)
		if clock.Sleep(ctx, n.cfg.Clock, tendEvery) != nil {
			return
		}
	}
}

// tendOnce logs what failed unless that was told before, and gives what was told.
// The keyring logs what it did.
func (n *Node) tendOnce(ctx context.Context, told string) string {
	_, rotateErr := n.keys.RotateDue(ctx)
	_, retireErr := n.keys.Retire(ctx)
	err := errors.Join(rotateErr, retireErr)
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if err.Error() != told {
		n.log.Error("keys that are due could not be rotated or removed; this is tried again each minute",
			"reason", err, "next", problem.NextOf(err))
	}
	return err.Error()
}
