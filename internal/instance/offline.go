package instance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
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

// offlineSettled reports whether the state agrees with the offline file.
func (i *Instance) offlineSettled() bool {
	return i.offline() == (i.Status().State == Offline)
}

// goOffline stops the worker; the model is still loaded so that status pages
// can speak of the functions.
func (r *runner) goOffline() {
	r.forget()
	r.hush()
	if model, err := r.cfg.Load(); err == nil {
		r.model.Store(model)
	}
	r.drop(Offline)
	r.cfg.Log.Warn("the app is offline", "file", offlineFile)
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
// asks for the restart that follows, unless all is so already. A page that is
// there is kept. It returns problem.Invalid when the folder cannot be written.
func (i *Instance) SetOffline(offline bool) error {
	if i.offline() == offline && i.offlineSettled() {
		return nil
	}
	var err error
	if offline {
		err = i.writeOffline()
	} else if err = os.Remove(i.offlinePath()); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return problem.Wrap(problem.Invalid, "the app folder cannot be written", err).
			WithNext("let this host write to the folder, or create and delete " + offlineFile + " yourself")
	}
	i.Restart("state set through the runtime API")
	return nil
}

// writeOffline lets the file appear with its content, never without.
func (i *Instance) writeOffline() error {
	if i.offline() {
		return nil
	}
	page, err := atomicfile.Stage(i.offlinePath(), []byte(offlineNotice))
	if err != nil {
		return err
	}
	if err := page.Create(); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
