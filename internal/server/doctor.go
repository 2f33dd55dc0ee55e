package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/worker/custom"
)

// CheckStatus is how a check came out.
type CheckStatus string

// How checks come out.
const (
	CheckOK     CheckStatus = "ok"
	CheckWarn   CheckStatus = "warn" // works, but look at it
	CheckFailed CheckStatus = "fail"
)

// Check is one finding about an app. Its JSON form is a contract.
type Check struct {
	Name    string      `json:"check"`
	Status  CheckStatus `json:"status"`
	Message string      `json:"message"`
	Next    string      `json:"next,omitempty"` // what to do about it
}

// Names of the checks.
const (
	checkApp        = "app"
	checkHandler    = "handler"
	checkRuntime    = "runtime"
	checkReferences = "references"
	checkData       = "data"
	checkSeal       = "seal"
	checkKeys       = "keys"
	checkOrphans    = "orphans"
	checkPort       = "port"
	checkGit        = "git"
)

// Examine looks at everything a start of the app would need and says what is
// wrong and what to do. It creates and changes nothing, and no message holds a
// secret. It is for apps that run as well as for those that don't.
func Examine(ctx context.Context, cfg Config) []Check {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return []Check{failed(checkApp, err, "")}
	}
	model, err := knownModel(cfg)
	if err != nil {
		return []Check{failed(checkApp, err, "name the folder that holds host.json")}
	}
	e := &examination{cfg: cfg, model: model, settings: settings(model.Settings)}
	e.app()
	e.handler(ctx)
	e.references()
	e.data()
	e.keys(ctx)
	e.port(ctx)
	e.git(ctx)
	return e.checks
}

// examination is one run of Examine.
type examination struct {
	cfg      Config
	model    *instance.Model
	settings settings
	checks   []Check
}

func (e *examination) add(name string, status CheckStatus, message, next string) {
	e.checks = append(e.checks, Check{name, status, message, next})
}

func (e *examination) ok(name, format string, args ...any) {
	e.add(name, CheckOK, fmt.Sprintf(format, args...), "")
}

func (e *examination) fail(name string, err error, next string) {
	e.checks = append(e.checks, failed(name, err, next))
}

// failed makes a check of an error; next is for errors that have no advice.
func failed(name string, err error, next string) Check {
	if own := problem.NextOf(err); own != "" {
		next = own
	}
	return Check{name, CheckFailed, err.Error(), next}
}

// app reports the app's faults, the whole app's first.
func (e *examination) app() {
	faults := e.model.Faults()
	for _, f := range faults {
		next := f.Next
		f.Next = ""
		if f.Function != "" && !e.model.FoundAt.IsZero() {
			e.add(checkApp, CheckWarn, "at the last start: "+f.String(), next)
			continue
		}
		e.add(checkApp, CheckFailed, f.String(), next)
	}
	for _, w := range Warnings(e.model) {
		e.add(checkApp, CheckWarn, w, "rename the functions so that the stricter one comes first, or give the open one a narrower route")
	}
	switch known := counted(e.model); {
	case len(faults) == 0:
		e.ok(checkApp, "%s has no faults, functions: %s", e.cfg.Dir, known)
	case len(e.model.App.Faults) == 0 && !e.model.FoundAt.IsZero():
		e.ok(checkApp, "the files of %s have no faults, functions: %s", e.cfg.Dir, known)
	}
}

// counted says how many functions an app has, as far as that is known.
func counted(m *instance.Model) string {
	switch {
	case !m.FoundAt.IsZero():
		return fmt.Sprintf("%d, as its language worker found them %s", len(m.Functions), m.FoundAt.Format(time.RFC3339))
	case hosted.Indexed(m):
		return "known once its language worker has found them at a start"
	}
	return strconv.Itoa(len(m.Functions))
}

// handler finds out whether the handler, or the language worker, is there to be run.
func (e *examination) handler(ctx context.Context) {
	h := e.model.App.Host.CustomHandler
	if h == nil {
		if len(e.model.App.Faults) == 0 {
			e.runtime(ctx)
		}
		return
	}
	if h.Executable == "" {
		return // a fault of the app
	}
	path, err := custom.LookUp(e.cfg.Dir, h, e.settings.Get("PATH"))
	if err != nil {
		e.fail(checkHandler, err, "")
		return
	}
	e.ok(checkHandler, "%s", path)
}
