package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// declaredEvery is how often apps are looked for that are to have declared keys,
// and files read again that have them.
const declaredEvery = 15 * time.Second

// declaredSecret is how long the value of a reference counts before its vault is
// asked again.
const declaredSecret = 5 * time.Minute

// declared are the keys that the configuration declares apps to have. It is used by
// one goroutine.
type declared struct {
	n       *Node
	applied map[string]declaredApp // by the app's name in lower case
	secrets map[string]declaredValue
	told    map[string]string // by the app's name; "" for the file
}

// declaredApp is what was applied to an app.
type declaredApp struct {
	uid  string
	keys []keyseed.Key
	done bool // all of them are as declared
}

type declaredValue struct {
	text string
	read time.Time
}

func newDeclared(n *Node) *declared {
	return &declared{n: n, applied: map[string]declaredApp{}, secrets: map[string]declaredValue{}, told: map[string]string{}}
}

// openDeclared begins to make keys that are declared.
func (n *Node) openDeclared(context.Context) error {
	if len(n.cfg.Keys) == 0 && n.cfg.KeysFile == "" {
		return nil
	}
	d := newDeclared(n)
	n.beside(func(ctx context.Context) {
		for {
			d.once(ctx)
			if !n.awaitDeclared(ctx) {
				return
			}
		}
	})
	return nil
}

// awaitDeclared waits until keys may be to be made; false when ctx has ended.
func (n *Node) awaitDeclared(ctx context.Context) bool {
	timer := n.cfg.Clock.NewTimer(declaredEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-n.deployed:
	case <-timer.C():
	}
	return ctx.Err() == nil
}

// once applies what is declared to the apps that are there, where it is another
// than what was applied, or could not be. What somebody changes by hand is not
// changed back before the next start.
func (d *declared) once(ctx context.Context) {
	list, err := d.entries()
	d.tell("", "the file of declared keys cannot be used; what was declared before stays", err)
	if err != nil {
		return
	}
	byApp := map[string][]keyseed.Entry{}
	for _, e := range list {
		name := strings.ToLower(e.App)
		byApp[name] = append(byApp[name], e)
	}
	for name, entries := range byApp {
		a, err := d.n.apps.ByName(ctx, name)
		if errors.Is(err, problem.NotFound) {
			delete(d.applied, name)
			continue
		}
		if err == nil {
			err = d.app(ctx, name, a, entries)
		}
		if ctx.Err() != nil {
			return
		}
		d.tell(name, "declared keys could not be made so; this is tried again", err)
	}
}

// entries gives the keys of the configuration and of the file of keys.
func (d *declared) entries() ([]keyseed.Entry, error) {
	if d.n.cfg.KeysFile == "" {
		return d.n.cfg.Keys, nil
	}
	more, err := settings.LoadKeysFile(d.n.cfg.KeysFile, true)
	for _, w := range more.Warnings {
		if d.told["warning"] != w {
			d.n.log.Warn(w)
		}
		d.told["warning"] = w
	}
	if err != nil {
		return nil, err
	}
	all := slices.Concat(d.n.cfg.Keys, more.Entries)
	if faults := keyseed.Check(all, keyseed.Place{Path: "keys", Apps: true}); len(faults) > 0 {
		return nil, problem.New(problem.Invalid, "the configuration and "+more.File+" contradict each other:\n  "+strings.Join(faults, "\n  "))
	}
	return all, nil
}

// app makes the keys of one app.
func (d *declared) app(ctx context.Context, name string, a app.App, entries []keyseed.Entry) error {
	keys, faults := keyseed.Resolve(ctx, entries, keyseed.Place{Path: "keys of " + a.Name}, keyseed.Sources{
		Env: d.variable, File: keyseed.ReadFile,
		Reference: func(ctx context.Context, text string) (string, error) { return d.secret(ctx, a, text) },
	})
	if was := d.applied[name]; was.uid == a.UID && was.done && len(faults) == 0 && keyseed.Equal(was.keys, keys) {
		return nil
	}
	ring, err := d.n.ringOf(ctx, a)
	if err != nil {
		return err
	}
	for _, r := range keyseed.Apply(ctx, ring, keys) {
		switch {
		case r.Err != nil:
			faults = append(faults, problem.Wrap(problem.KindOf(r.Err), r.Key.Label, r.Err).WithNext(problem.NextOf(r.Err)))
		case r.Changed():
			d.n.log.Info("a key is now as declared", "app", a.Name, "declared", r.Key.Label, "outcome", r.Outcome.String(), "replaced", r.Replaced)
			faults = append(faults, d.n.audit.Append(ctx, declaredAudit(a, r))) // nil if it is recorded
		}
	}
	err = errors.Join(faults...)
	d.applied[name] = declaredApp{a.UID, keys, err == nil}
	return err
}

// declaredAudit records a key that the configuration changed.
func declaredAudit(a app.App, r keyseed.Result) audit.Event {
	e := audit.Event{
		Category: audit.System, Action: "keys/declared", Scope: a.ID.String(), Outcome: "Succeeded",
		Reason:  "the configuration declares it",
		Details: map[string]string{"key": r.Key.Section.Kind.String() + "/" + r.Name, "change": r.Outcome.String(), "valueReplaced": fmt.Sprint(r.Replaced)},
	}
	if f := r.Key.Section.Function; f != "" {
		e.Scope += "/functions/" + f
	}
	return e
}

// tell logs an error once, until there is another one or none.
func (d *declared) tell(about, what string, err error) {
	if err == nil {
		delete(d.told, about)
		return
	}
	if text := err.Error(); d.told[about] != text {
		d.told[about] = text
		d.n.log.Error(what, "app", about, "reason", err, "next", problem.NextOf(err))
	}
}

// variable gives a variable of the node's environment.
func (d *declared) variable(name string) string {
	for _, entry := range slices.Backward(d.n.cfg.Environ) {
		if n, value, ok := strings.Cut(entry, "="); ok && n == name {
			return value
		}
	}
	return ""
}

// secret reads what a reference names, as the identity that reads the references
// in the app's settings.
func (d *declared) secret(ctx context.Context, a app.App, text string) (string, error) {
	now, id := d.n.cfg.Clock.Now(), a.UID+" "+text
	if have, ok := d.secrets[id]; ok && now.Sub(have.read) < declaredSecret {
		return have.text, nil
	}
	value, err := d.fetch(ctx, a, text)
	if err == nil {
		d.secrets[id] = declaredValue{value, now}
	}
	return value, err
}

func (d *declared) fetch(ctx context.Context, a app.App, text string) (string, error) {
	ref, _, bad := keyref.Parse(text)
	if bad != nil {
		return "", problem.New(problem.Invalid, bad.Error())
	}
	whole, err := d.n.apps.Snapshot(ctx, a.ID)
	if err != nil {
		return "", err
	}
	who, err := d.n.referenceIdentity(ctx, whole)
	if err != nil {
		return "", err
	}
	s, err := (*secretSource)(d.n).Fetch(ctx, reference.Query{
		App: a.ID, Identity: who, Host: ref.Host, Vault: ref.Vault, Secret: ref.Secret, Version: ref.Version,
	})
	if f := (*reference.Failure)(nil); errors.As(err, &f) {
		err = problem.New(problem.Unavailable, f.Message).WithNext("give the app's identity the right to read the secret, see docs/identity.md")
	}
	return s.Value, err
}
