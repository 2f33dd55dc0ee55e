// Package containerapps owns the read-only key store that is a folder of mounted
// files, one per key, the one the functions host uses on Azure Container Apps:
// keys come into being and change where the volume comes from. The layout and the
// reading belong to package flat. It does not know who asks for keys, and it never
// writes.
package containerapps

import (
	"context"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
)

// DefaultDir is where the platform mounts the files.
const DefaultDir = "/run/secrets/functions-keys"

// Config says which folder.
type Config struct {
	// Dir is the folder with the files; "" is DefaultDir. It need not exist.
	Dir string
	// Clock is for collecting the kernel's notifications; nil is the system clock.
	Clock clock.Clock
}

// Store is a folder of mounted keys. It is safe for concurrent use.
type Store struct{ *flat.Mounted }

var (
	_ keystore.Store     = (*Store)(nil)
	_ keystore.Watcher   = (*Store)(nil)
	_ keystore.AllLoader = (*Store)(nil)
)

// Open gives the store in a folder, which need not exist. It touches nothing and
// never fails; it has the form that all backends have.
func Open(_ context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	return &Store{flat.NewMounted(flat.Folder{Dir: filepath.Clean(cfg.Dir)}, "ContainerApps",
		"change the secrets that are mounted there; the new keys are in force as soon as the files change", cfg.Clock)}, nil
}
