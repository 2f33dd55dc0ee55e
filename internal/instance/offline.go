package instance

import (
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/problem"
)

// offlineFile in the app's root takes the app offline as long as it is there;
// its content is the page callers get (runtime §13).
const offlineFile = "app_offline.htm"

const offlineNotice = "<!DOCTYPE html>\n<title>Offline</title>\n<p>This app is offline.</p>\n"

// maxOfflinePage bounds the page read into memory, in bytes.
const maxOfflinePage = 1 << 20

func (i *Instance) offlinePath() string { return filepath.Join(i.cfg.Root, offlineFile) }

func (i *Instance) offline() bool {
	_, err := os.Stat(i.offlinePath())
	return err == nil
}

// goOffline stops the worker; the model is still loaded so that status pages
// can speak of the functions.
func (i *Instance) goOffline() {
	if model, err := i.cfg.Load(); err == nil {
		i.model.Store(model)
	}
	i.drop(Offline)
	i.cfg.Log.Warn("the app is offline", "file", offlineFile)
}

// OfflinePage gives the page for callers of an offline app.
func (i *Instance) OfflinePage() []byte {
	info, err := os.Stat(i.offlinePath())
	if err != nil || info.Size() == 0 || info.Size() > maxOfflinePage {
		return []byte(offlineNotice)
	}
	page, err := os.ReadFile(i.offlinePath())
	if err != nil {
		return []byte(offlineNotice)
	}
	return page
}

// SetOffline puts the offline file into the app's folder or takes it away, and
// asks for the restart that follows. It returns problem.Invalid when the folder
// cannot be written.
func (i *Instance) SetOffline(offline bool) error {
	var err error
	if offline {
		err = os.WriteFile(i.offlinePath(), []byte(offlineNotice), 0o644)
	} else if err = os.Remove(i.offlinePath()); os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		return problem.Wrap(problem.Invalid, "the app folder cannot be written", err)
	}
	i.Restart("state set through the runtime API")
	return nil
}
