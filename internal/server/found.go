package server

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/server/hosted"
)

// foundName is the file in the data folder with the functions that the app's
// language worker found when the app was last loaded.
const foundName = "functions.json"

// maxFound bounds what is read of it, in bytes.
const maxFound = 16 << 20

func foundFile(cfg Config) string { return filepath.Join(cfg.DataDir, foundName) }

// readFound reads what the worker found last; there is nothing if the file cannot
// be understood: the next start writes it anew.
func readFound(cfg Config) (found funcapp.Found, ok bool) {
	text, err := atomicfile.Read(foundFile(cfg), maxFound)
	return found, err == nil && json.Unmarshal(text, &found) == nil
}

// knownModel is loadModel with the functions that a worker found last.
func knownModel(cfg Config) (*instance.Model, error) {
	m, err := loadModel(cfg)
	if err != nil || m.App.Host.CustomHandler != nil {
		return m, err
	}
	if found, ok := readFound(cfg); ok {
		return hosted.Recalled(m, found), nil
	}
	return m, nil
}

// Indexed reports whether an app's functions are found by its language worker, and
// none is known yet.
func Indexed(m *instance.Model) bool { return hosted.Indexed(m) }

// keepFound keeps what the worker found, for those who ask while it does not run.
// It is a help to them, not a condition of the app's running.
func (n *Node) keepFound(m *instance.Model) {
	var err error
	switch {
	case len(m.App.Faults) > 0:
	case !m.Found:
		if err = os.Remove(foundFile(n.cfg)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		err = n.writeFound(funcapp.FoundNow(m.Functions, n.cfg.Clock.Now()))
	}
	if err != nil {
		n.log.Warn("it cannot be kept which functions the app has", "reason", err)
	}
}

func (n *Node) writeFound(found funcapp.Found) error {
	ignoreInGit(n.cfg.DataDir)
	if err := atomicfile.MakeDir(n.cfg.DataDir); err != nil {
		return err
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return atomicfile.Write(foundFile(n.cfg), append(text, '\n'))
}
