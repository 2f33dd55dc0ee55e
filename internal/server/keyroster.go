package server

import (
	"path/filepath"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

// keyRoster keeps which functions the app has.
func keyRoster(cfg Config) keyring.Roster {
	return keynotes.OpenRoster(keynotes.Config{
		Dir: filepath.Join(cfg.DataDir, keyNotesDir), Prepare: func() { ignoreInGit(cfg.DataDir) },
	})
}

// modelLoaded reports what the app turned out to be. One that cannot be loaded, or
// whose worker is yet to find them, says nothing about its functions, and is reported once it has found them.
func (n *Node) modelLoaded(m *instance.Model) {
	if m.Unindexed {
		return
	}
	n.keepFound(m)
	n.reportFaults(m)
	if len(m.App.Faults) == 0 {
		n.keys.Deployed(m.Names())
	}
}
