package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Names is the prefix of the index of apps: name in lower case → resource id.
const Names state.Key = "/sites/"

// Config is what Apps needs.
type Config struct {
	Inventory *inventory.Inventory
	Clock     clock.Clock
	// Hosts gives the host names of an app; see [LocalHosts].
	Hosts func(name string) HostNames
	// OnDelete are called, in order, when an app is deleted, before its documents
	// go: for keys, packages, identities. Each may be called again after an
	// interruption and must then succeed; an error ends the deletion, which
	// FinishDeletes or the next Delete takes up.
	OnDelete []func(ctx context.Context, a App) error
}

// HostNames are where clients find an app, with the port where it is not that of
// the scheme.
type HostNames struct {
	App    string // "orders.localhost:7071"
	AppURL string // "http://orders.localhost:7071"
	SCM    string // "orders.scm.localhost:7443"
	SCMURL string // "https://orders.scm.localhost:7443"
}

// LocalHosts names apps below a domain: functions over plain HTTP at one port, the
// deployment endpoints over TLS at another.
func LocalHosts(domain string, functionsPort, managementPort int) func(name string) HostNames {
	return func(name string) HostNames {
		name = strings.ToLower(name)
		h := HostNames{App: name + "." + domain, SCM: name + ".scm." + domain}
		if functionsPort != 80 {
			h.App += ":" + strconv.Itoa(functionsPort)
		}
		if managementPort != 443 {
			h.SCM += ":" + strconv.Itoa(managementPort)
		}
		h.AppURL, h.SCMURL = "http://"+h.App, "https://"+h.SCM
		return h
	}
}

// Apps keeps function apps and service plans. It is safe for concurrent use, also
// by several nodes on one state. Methods that change something take the object id
// of who asked for it; they return problem.Conflict when others kept changing the
// same app.
type Apps struct {
	inv      *inventory.Inventory
	store    state.Store
	clock    clock.Clock
	hosts    func(string) HostNames
	onDelete []func(context.Context, App) error
}

// New makes the service.
func New(c Config) *Apps {
	a := &Apps{inv: c.Inventory, store: c.Inventory.Store, clock: c.Clock, hosts: c.Hosts, onDelete: c.OnDelete}
	if a.hosts == nil {
		a.hosts = LocalHosts("localhost", 7071, 7443)
	}
	return a
}

// Hosts gives the host names of an app.
func (a *Apps) Hosts(name string) HostNames { return a.hosts(name) }

// Get reads an app; problem.NotFound if there is none or it is being deleted.
func (a *Apps) Get(ctx context.Context, id resource.ID) (App, error) {
	app, _, err := a.get(ctx, id)
	return app, err
}

// Current gives an app that was read before as it is now. While its document is
// the same it is not decoded anew, which is most of what reading it costs. Errors
// are those of Get.
func (a *Apps) Current(ctx context.Context, known App) (App, error) {
	doc, err := a.store.Get(ctx, inventory.Key(known.ID))
	if err == nil && doc.Revision == known.Resource.Revision {
		return known, nil
	}
	return a.Get(ctx, known.ID)
}

func (a *Apps) get(ctx context.Context, id resource.ID) (App, private, error) {
	r, err := a.inv.Get(ctx, id)
	if err != nil {
		return App{}, private{}, err
	}
	app, p, err := fromResource(r)
	if err == nil && app.Deleting {
		err = problem.New(problem.NotFound, fmt.Sprintf("app %q is being deleted", app.Name))
	}
	return app, p, err
}

// ByName finds an app by its name, whatever the case; problem.NotFound if there
// is none.
func (a *Apps) ByName(ctx context.Context, name string) (App, error) {
	id, _, err := a.indexed(ctx, name)
	if err != nil {
		return App{}, err
	}
	return a.Get(ctx, id)
}

// indexed gives what the index of names has.
func (a *Apps) indexed(ctx context.Context, name string) (resource.ID, state.Revision, error) {
	if err := CheckName(name); err != nil {
		return resource.ID{}, 0, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no app %q", clip(name)), err)
	}
	doc, err := a.store.Get(ctx, nameKey(name))
	if errors.Is(err, state.ErrNotFound) {
		return resource.ID{}, 0, problem.Wrap(problem.NotFound, fmt.Sprintf("there is no app %q", name), err)
	}
	if err != nil {
		return resource.ID{}, 0, err
	}
	id, err := resource.Parse(string(doc.Value))
	if err != nil {
		err = problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", doc.Key), err)
	}
	return id, doc.Revision, err
}

func nameKey(name string) state.Key { return Names + state.Key(strings.ToLower(name)) }

// List gives the apps within a scope in order of their ids, at most limit (0:
// all) after the one whose key is given ("" from the first). next is the key to
// go on after, "" at the end. Apps that are being deleted are left out.
func (a *Apps) List(ctx context.Context, scope resource.ID, after state.Key, limit int) (list []App, next state.Key, err error) {
	found, next, err := a.inv.List(ctx, SiteType, scope, after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, r := range found {
		app, err := FromResource(r)
		if err != nil {
			return nil, "", err
		}
		if !app.Deleting {
			list = append(list, app)
		}
	}
	return list, next, nil
}

// SetState starts or stops an app. Nothing is written when it is so already.
func (a *Apps) SetState(ctx context.Context, id resource.ID, by string, s State) (App, error) {
	if s != Running && s != Stopped {
		return App{}, problem.New(problem.Invalid, fmt.Sprintf("an app can be %s or %s, not %q", Running, Stopped, clip(string(s))))
	}
	return a.edit(ctx, id, by, func(d *draft) error {
		if d.private.Stopped != (s == Stopped) {
			d.private.Stopped = s == Stopped
			d.restart()
		}
		return nil
	})
}

// Restart makes running copies start anew.
func (a *Apps) Restart(ctx context.Context, id resource.ID, by string) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error {
		d.private.Restarts++
		d.restart()
		return nil
	})
}

// whoeverDid leaves the name of who changed an app last as it is.
const whoeverDid = "(whoever did)"

// Touch makes running copies start anew because something changed that they were
// made from and that is not the app's own, such as a secret it refers to.
func (a *Apps) Touch(ctx context.Context, id resource.ID) (App, error) {
	return a.edit(ctx, id, whoeverDid, func(d *draft) error {
		d.restart()
		return nil
	})
}

// Activate makes a package the one that the app runs. Nothing is written when it
// is so already.
func (a *Apps) Activate(ctx context.Context, id resource.ID, by, release string) (App, error) {
	return a.edit(ctx, id, by, func(d *draft) error {
		if d.private.Release != release {
			d.private.Release = release
			d.restart()
		}
		return nil
	})
}

// NameFree reports whether no app has a name. The name of an app that is being
// deleted is taken until that is done.
func (a *Apps) NameFree(ctx context.Context, name string) (bool, error) {
	_, _, err := a.indexed(ctx, name)
	if errors.Is(err, problem.NotFound) {
		return true, nil
	}
	return false, err
}
