package kubernetes

import (
	"path/filepath"

	"github.com/latchkey/latchkey/internal/keystore/flat"
)

// newFolder gives the read-only form: files that are mounted, one per key.
func newFolder(cfg Config) *flat.Mounted {
	return flat.NewMounted(flat.Folder{Dir: filepath.Clean(cfg.Dir)}, "kubernetes",
		"change the Secret that is mounted there, or name it in "+NameSetting+" to let keys be changed here", cfg.Clock)
}
