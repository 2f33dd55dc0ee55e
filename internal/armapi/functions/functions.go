// Package functions owns the management operations on what an app consists of:
// its functions, their keys and those of the host, and the packages deployed to
// it. All of it is answered from the control plane's own records, so that it works
// for an app that is stopped. It does not know how keys, packages and apps are
// kept, and serves nothing of the app's configuration.
package functions

import (
	"context"
	"io"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/resource"
)

// App is what this package needs to know of an app.
type App struct {
	ID       resource.ID
	Name     string // as spelled when it was created
	Location string
	URL      string // of its functions, "http://orders.localhost:7071"
	Release  string // the active one; "" before the first deployment
	Settings map[string]string
}

// Apps finds apps and changes single settings.
type Apps interface {
	// App finds an app; problem.NotFound if there is none.
	App(ctx context.Context, id resource.ID) (App, error)
	// SetSetting sets an app setting, or removes it if value is nil. The name is
	// compared without regard to case.
	SetSetting(ctx context.Context, id resource.ID, by, name string, value *string) error
}

// Rings gives the keys of apps, whether they run or not.
type Rings interface {
	Ring(ctx context.Context, app string) (*keyring.Ring, error)
}

// Releases reads releases; see [release.Releases].
type Releases interface {
	List(ctx context.Context, app string) ([]release.Release, error)
	Get(ctx context.Context, app, id string) (release.Release, error)
	Deploying(ctx context.Context, app string) (id string, err error)
}

// Deployer takes packages; see [release.Deployer].
type Deployer interface {
	Deploy(ctx context.Context, app string, zip io.Reader, meta release.Meta) (release.Release, error)
	DeployLater(ctx context.Context, app string, zip io.Reader, meta release.Meta) (release.Release, error)
	Activate(ctx context.Context, app, id, by string) (release.Release, error)
}

// Config is what the operations work with. All without a remark is required.
type Config struct {
	Apps     Apps
	Rings    Rings
	Releases Releases
	Deployer Deployer
	// Found gives the functions of the active release, of which files has those that
	// its files name: a language worker may have found others. nil: files.
	Found func(ctx context.Context, app App, files []release.Function) ([]release.Function, error)
	// AdminToken makes a token for the admin endpoints of an app's host, valid for
	// minutes. nil: the operation is refused.
	AdminToken func(ctx context.Context, app App) (string, error)
	// HostStatus gives what the app's host says of itself, without needing it to
	// run. nil: a status made of what is known here.
	HostStatus func(ctx context.Context, app App) (any, error)
	// KeyStores moves keys between stores. nil: the operation is refused.
	KeyStores KeyStores
	// KeyRecovery helps key documents that cannot be used. nil: the operations are refused.
	KeyRecovery KeyRecovery
	// KeyFinder tells whose keys a value is. nil: the operations are refused.
	KeyFinder KeyFinder
	Clock     clock.Clock // nil: the system clock
}

// Provider has the operations.
type Provider struct{ cfg Config }

// New makes a provider.
func New(cfg Config) *Provider {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	return &Provider{cfg}
}

// Patterns.
const (
	sitePath     = "/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Web/sites/{site}"
	functionPath = sitePath + "/functions/{function}"
	siteType     = "Microsoft.Web/sites"
)

// Operations gives what is to be served.
func (p *Provider) Operations() []arm.Operation {
	ops := []arm.Operation{
		{Method: "GET", Pattern: sitePath + "/functions", Handler: p.list},
		{Method: "GET", Pattern: functionPath, Handler: p.get},
		{Method: "PUT", Pattern: functionPath, Handler: p.put},
		{Method: "DELETE", Pattern: functionPath, Handler: p.remove},
		{Method: "GET", Pattern: functionPath + "/properties/state", Action: siteType + "/functions/properties/read", Handler: p.state},
		{Method: "PUT", Pattern: functionPath + "/properties/state", Action: siteType + "/functions/properties/write", Handler: p.setState},
		{Method: "GET", Pattern: sitePath + "/functions/admin/token", Action: siteType + "/functions/token/action", Secret: true, Handler: p.token},
		{Method: "GET", Pattern: sitePath + "/host/default/properties/status", Action: siteType + "/host/properties/read", Handler: p.hostStatus},
		{Method: "POST", Pattern: sitePath + "/host/default/migratekeys", Action: siteType + "/host/migratekeys/action", Handler: p.migrateKeys},
	}
	ops = append(ops, p.keyOperations()...)
	ops = append(ops, p.keyRecoveryOperations()...)
	ops = append(ops, p.keyFindOperations()...)
	return append(ops, p.deploymentOperations()...)
}

// app finds the app a call is about.
func (p *Provider) app(c *arm.Call) (App, error) {
	id := resource.Group(c.Params["sub"], c.Params["group"]).Child("Microsoft.Web", "sites", c.Params["site"])
	return p.cfg.Apps.App(c.Context(), id)
}

// Types has the resource types of this package below Microsoft.Web.
func Types() []string {
	return []string{"sites/functions", "sites/functions/keys", "sites/functions/properties", "sites/host", "sites/host/functionKeys",
		"sites/host/systemKeys", "sites/host/masterKey", "sites/deployments", "sites/deploymentStatus", "sites/extensions", "sites/releases"}
}
