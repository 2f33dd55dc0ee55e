package server

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keyseed"
	configuration "github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

// keysFileSetting names a file with declared keys.
const keysFileSetting = configuration.EnvPrefix + "KEYS_FILE"

// declaredEvery is how often the files of declared keys are read again.
const declaredEvery = 15 * time.Second

// declarations are the keys that an app is declared to have.
type declarations struct {
	keys     []keyseed.Key
	warnings []string
	faults   []funcapp.Fault // what cannot be understood or found
}

// err gives all faults as one error.
func (d declarations) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	lines := make([]string, len(d.faults))
	for i, f := range d.faults {
		lines[i] = f.Message
	}
	return problem.New(problem.Invalid, "declared keys have faults:\n  "+strings.Join(lines, "\n  ")).
		WithNext("correct them; docs/keys-declarative.md has what can be said of a key")
}

// readDeclared reads what the app's latchkey.yaml and the file of keys say, with the
// values.
func readDeclared(ctx context.Context, cfg Config, s settings) (d declarations) {
	app := appName(cfg.Dir, s)
	own, err := configuration.LoadKeys(filepath.Join(cfg.Dir, configuration.FileName), app)
	d.take(own, err)
	path := own.KeysFile
	if named := s.Get(keysFileSetting); named != "" {
		path = named
	}
	first := d.resolve(ctx, own, s, app)
	if path == "" {
		return d
	}
	more, err := configuration.LoadKeysFile(path, false)
	d.take(more, err)
	for _, label := range keyseed.Twice(first, d.resolve(ctx, more, s, app)) {
		d.fault(path + ": " + label + " is declared in " + own.File + ", too")
	}
	return d
}

func (d *declarations) take(k configuration.Keys, err error) {
	d.warnings = append(d.warnings, k.Warnings...)
	for _, fault := range k.Faults {
		d.fault(fault)
	}
	if err != nil && len(k.Faults) == 0 {
		d.fault(err.Error())
	}
}

func (d *declarations) fault(text string) {
	d.faults = append(d.faults, funcapp.Fault{Message: text})
}

// resolve finds the values of entries without faults.
func (d *declarations) resolve(ctx context.Context, k configuration.Keys, s settings, app string) []keyseed.Key {
	if len(k.Faults) > 0 {
		return nil
	}
	k.Entries = slices.DeleteFunc(k.Entries, func(e keyseed.Entry) bool { return e.App != "" && !strings.EqualFold(e.App, app) })
	keys, faults := keyseed.Resolve(ctx, k.Entries, keyseed.Place{Path: k.File + ": keys"}, keyseed.Sources{Env: s.Get, File: keyseed.ReadFile})
	for _, err := range faults {
		d.faults = append(d.faults, funcapp.Fault{Message: err.Error(), Next: problem.NextOf(err)})
	}
	d.keys = append(d.keys, keys...)
	return keys
}

// CheckDeclared gives what is wrong with the declared keys of the app in cfg.Dir,
// and warnings, without applying them.
func CheckDeclared(ctx context.Context, cfg Config, m *instance.Model) (faults []funcapp.Fault, warnings []string) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, nil
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	d := readDeclared(ctx, cfg, s)
	return d.faults, append(d.warnings, strangers(d.keys, m)...)
}

// strangers tells of keys of functions that the app does not have.
func strangers(keys []keyseed.Key, m *instance.Model) (list []string) {
	for _, k := range keys {
		known := slices.ContainsFunc(m.Functions, func(f funcapp.Function) bool { return strings.EqualFold(f.Name, k.Section.Function) })
		if k.Section.Function != "" && !known {
			list = append(list, k.Label+" is declared, and the app has no such function now")
		}
	}
	return list
}

// openDeclared applies the declared keys, before anything is served. Faults of the
// declaration end the start; a store that cannot be written now does not.
func (n *Node) openDeclared(ctx context.Context) error {
	d := readDeclared(ctx, n.cfg, n.settings)
	if err := d.err(); err != nil {
		return err
	}
	if m, err := knownModel(n.cfg); err == nil && len(d.keys) > 0 {
		d.warnings = append(d.warnings, strangers(d.keys, m)...)
	}
	for _, w := range d.warnings {
		n.log.Warn(w)
	}
	n.declared.apply(ctx, n, d.keys)
	return nil
}

// declaredKeys remembers what was applied. It is used by one goroutine at a time.
type declaredKeys struct {
	keys   []keyseed.Key
	failed bool
	told   string
}

// followDeclared applies declared keys again when what is declared has changed, or
// could not be applied, until ctx ends. Keys that somebody changes by hand are not
// changed back before the next start.
func (n *Node) followDeclared(ctx context.Context) {
	for clock.Sleep(ctx, n.cfg.Clock, declaredEvery) == nil {
		n.declareAnew(ctx)
	}
}

func (n *Node) declareAnew(ctx context.Context) {
	s, _, _, _ := readSettings(n.cfg.Dir, n.cfg.Environ)
	d := readDeclared(ctx, n.cfg, s)
	if err := d.err(); err != nil {
		n.declared.tell(n, "the declared keys were changed and have faults; what was declared before stays", err)
		return
	}
	if n.declared.failed || !keyseed.Equal(n.declared.keys, d.keys) {
		n.declared.apply(ctx, n, d.keys)
	}
}

// apply makes keys as they are declared, and logs what became of them.
func (a *declaredKeys) apply(ctx context.Context, n *Node, keys []keyseed.Key) {
	var errs []error
	for _, r := range keyseed.Apply(ctx, n.keys, keys) {
		switch {
		case r.Err != nil:
			errs = append(errs, problem.Wrap(problem.KindOf(r.Err), r.Key.Label, r.Err).WithNext(problem.NextOf(r.Err)))
		case r.Changed():
			n.log.Info("a key is now as declared", "declared", r.Key.Label, "outcome", r.Outcome.String(), "replaced", r.Replaced)
		}
	}
	a.keys, a.failed = keys, len(errs) > 0
	if a.failed {
		a.tell(n, "declared keys could not be made so; this is tried again", errors.Join(errs...))
		return
	}
	a.told = ""
	if len(keys) > 0 {
		n.log.Debug("all declared keys are as declared", "keys", len(keys))
	}
}

func (a *declaredKeys) tell(n *Node, what string, err error) {
	if err.Error() != a.told {
		n.log.Error(what, "reason", err, "next", problem.NextOf(err))
	}
	a.told = err.Error()
}

var _ keyseed.Ring = (*keyring.Ring)(nil)
