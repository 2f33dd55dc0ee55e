package platform

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/archive"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// BackupOffline writes everything in the configured state to w, without a node:
// the state must not be in use, or be one that several can use. It returns
// problem.NotFound for a state that has nothing, problem.Undecryptable if the
// key-encryption key is not at hand, and otherwise what opening the state and
// [archive.Backup] return.
func BackupOffline(ctx context.Context, cfg Config, w io.Writer) (archive.Summary, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return archive.Summary{}, err
	}
	if err := stateExists(cfg); err != nil {
		return archive.Summary{}, err
	}
	raw, err := openBackend(ctx, cfg)
	if err != nil {
		return archive.Summary{}, err
	}
	defer raw.Close()
	if err := checkComplete(ctx, raw); err != nil {
		return archive.Summary{}, err
	}
	if _, err := raw.Get(ctx, sealed.KeysetKey); errors.Is(err, state.ErrNotFound) {
		return archive.Summary{}, problem.New(problem.NotFound, "there is no installation in "+raw.String()).
			WithNext("name the data folder or the configuration of latchkey up")
	} else if err != nil {
		return archive.Summary{}, err
	}
	keys, err := keyset.OpenIn(ctx, sealed.Box(raw, sealed.KeysetKey), cfg.kek(), false)
	if err != nil {
		return archive.Summary{}, err
	}
	return archive.Backup(ctx, raw, w, archive.Options{
		Created: cfg.Clock.Now(), Program: cfg.Version, Sealer: keys, Keyset: sealed.KeysetKey,
	})
}

// Restore puts a backup into the configured state, which must be empty. The
// key-encryption key is needed that was in use when the backup was made; a data
// folder that has none must get it first. It returns what opening the state and
// [archive.Restore] return.
func Restore(ctx context.Context, cfg Config, r io.Reader) (archive.Summary, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return archive.Summary{}, err
	}
	n := &Node{cfg: cfg}
	if err := n.openFolder(ctx); err != nil {
		return archive.Summary{}, err
	}
	raw, err := openBackend(ctx, cfg)
	if err != nil {
		return archive.Summary{}, err
	}
	defer raw.Close()
	return archive.Restore(ctx, raw, r, func(h archive.Header) (seal.Sealer, error) {
		return keyset.OpenIn(ctx, headerBox(h.Keyset), cfg.kek(), false)
	})
}

// headerBox is the keyset in a backup's header, which nobody changes.
type headerBox []byte

// Load implements keyset.Box.
func (b headerBox) Load(context.Context) ([]byte, error) { return b, nil }

// Replace implements keyset.Box.
func (b headerBox) Replace(context.Context, []byte, []byte) error {
	return problem.New(problem.ReadOnly, "the keyset of a backup cannot be changed")
}

func (b headerBox) String() string { return "of the backup" }

// stateExists refuses a state that opening would make.
func stateExists(cfg Config) error {
	if cfg.State.Kind != "bolt" {
		return nil
	}
	if _, err := os.Lstat(cfg.State.Path); errors.Is(err, fs.ErrNotExist) {
		return problem.New(problem.NotFound, "there is no state at "+cfg.State.Path).
			WithNext("name the data folder or the configuration of latchkey up")
	}
	return nil
}
