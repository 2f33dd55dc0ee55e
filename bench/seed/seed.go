// Package seed fills the state of an installation with apps, functions and keys
// for measurements, through the same services that the management API uses but
// without HTTP, so that it takes seconds and not hours. The node must not run
// meanwhile. It does not know what is measured.
package seed

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// What every app gets.
const (
	Functions       = 10 // of an app
	KeysPerFunction = 10
	PerGroup        = 50 // apps of a resource group
)

// atOnce is how many apps are made at a time, so that they share the disk's syncs.
const atOnce = 32

// seeder makes apps in an open state.
type seeder struct {
	sub, by  string
	store    *sealed.Store
	inv      *inventory.Inventory
	apps     *app.Apps
	releases *release.Releases
}

// AppName gives the name of the i-th app.
func AppName(i int) string { return fmt.Sprintf("load-%05d", i) }

// GroupName gives the resource group of the i-th app.
func GroupName(i int) string { return fmt.Sprintf("rg-%03d", i/PerGroup) }

// FunctionName gives the name of the i-th function of an app.
func FunctionName(i int) string { return fmt.Sprintf("function%d", i) }

// Upto makes what is missing of so many apps in the data folder of an installation
// that has run before: each stopped, with a package of Functions functions, which
// have KeysPerFunction keys each, and the keys of its host.
func Upto(ctx context.Context, dataDir string, apps int) error {
	raw, err := bolt.Open(ctx, filepath.Join(dataDir, "state.db"), clock.Real{})
	if err != nil {
		return err
	}
	defer raw.Close()
	s, err := open(ctx, raw, dataDir)
	if err != nil {
		return err
	}
	have, err := raw.List(ctx, app.Names, state.Page{KeysOnly: true})
	if err != nil {
		return err
	}
	for i := 0; i < apps; i += PerGroup {
		if err := s.group(ctx, i); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := len(have.Documents); i < apps; i++ {
		group.Go(func() error { return s.app(ctx, i) })
	}
	return group.Wait()
}

func open(ctx context.Context, raw state.Store, dataDir string) (*seeder, error) {
	owner, err := armclient.ReadCredential(filepath.Join(dataDir, platform.OwnerFile))
	if err != nil {
		return nil, err
	}
	kek := keyset.NewKEK("", filepath.Join(dataDir, keyset.KEKFile))
	keys, err := keyset.OpenIn(ctx, sealed.Box(raw, sealed.KeysetKey), kek, false)
	if err != nil {
		return nil, err
	}
	s := &seeder{sub: owner.SubscriptionID, by: owner.ClientID, store: sealed.New(raw, keys)}
	s.inv = &inventory.Inventory{Store: s.store, Clock: clock.Real{}}
	s.apps = app.New(app.Config{Inventory: s.inv, Clock: clock.Real{}})
	s.releases = release.New(release.Config{
		Store: s.store, CacheDir: filepath.Join(dataDir, "apps"), Clock: clock.Real{}, Inspect: inspect,
	})
	return s, nil
}

func (s *seeder) group(ctx context.Context, i int) error {
	id := resource.Group(s.sub, GroupName(i))
	_, _, err := s.inv.Write(ctx, id, s.by, func(old inventory.Resource, _ bool) (inventory.Resource, error) {
		old.Location = "local"
		return old, nil
	})
	if err != nil {
		return err
	}
	spec, err := app.ParsePlan([]byte(`{"location":"local","kind":"functionapp","sku":{"name":"Y1","tier":"Dynamic"},"properties":{"reserved":true}}`))
	if err != nil {
		return err
	}
	_, _, err = s.apps.PutPlan(ctx, id.Child("Microsoft.Web", "serverfarms", "plan"), s.by, spec)
	return err
}

func (s *seeder) app(ctx context.Context, i int) error {
	name, group := AppName(i), resource.Group(s.sub, GroupName(i))
	spec, err := app.ParseSite(fmt.Appendf(nil, site, i%7, group.Child("Microsoft.Web", "serverfarms", "plan"), i))
	if err != nil {
		return err
	}
	id := group.Child("Microsoft.Web", "sites", name)
	a, _, err := s.apps.Put(ctx, id, s.by, spec)
	if err != nil {
		return err
	}
	zip, err := pack(name)
	if err != nil {
		return err
	}
	r, err := s.releases.Add(ctx, name, bytes.NewReader(zip), release.Meta{By: s.by, Message: "seeded"})
	if err != nil {
		return err
	}
	if _, err = s.apps.Activate(ctx, id, s.by, r.ID); err != nil {
		return err
	}
	if _, err = s.apps.SetState(ctx, id, s.by, app.Stopped); err != nil {
		return err
	}
	return s.keys(ctx, a)
}

const site = `{"location":"local","kind":"functionapp,linux","tags":{"team":"team-%d","made-for":"measuring"},
"properties":{"serverFarmId":"%s","httpsOnly":true,"siteConfig":{"linuxFxVersion":"Custom","http20Enabled":true,
"appSettings":[{"name":"FUNCTIONS_WORKER_RUNTIME","value":"custom"},{"name":"FUNCTIONS_EXTENSION_VERSION","value":"~4"},
{"name":"NUMBER","value":"%d"},{"name":"WEBSITE_RUN_FROM_PACKAGE","value":"1"}]}}}`

func functionJSON(i int) string {
	return fmt.Sprintf(`{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","route":"r%d/{id:int?}","methods":["get","post"],"authLevel":"function"},`+
		`{"type":"http","direction":"out","name":"res"}]}`, i)
}

// pack makes a package that no other app has.
func pack(name string) ([]byte, error) {
	files := map[string]string{
		"host.json": `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true}}`,
		"handler":   "#!/bin/sh\n# " + name + "\nexec sleep 1d\n",
	}
	for i := range Functions {
		files[FunctionName(i)+"/function.json"] = functionJSON(i)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for path, text := range files {
		f, err := w.Create(path)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write([]byte(text)); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// inspect knows what pack makes; reading it from the files is not what is measured.
func inspect(context.Context, string) (list []release.Function, _ []string, _ error) {
	for i := range Functions {
		list = append(list, release.Function{
			Name: FunctionName(i), Config: []byte(functionJSON(i)), Language: "Custom", Route: fmt.Sprintf("api/r%d/{id:int?}", i),
			AuthLevel: "function", Trigger: "httpTrigger", Methods: []string{"get", "post"},
		})
	}
	return list, nil, nil
}

// keys makes the key documents of an app.
func (s *seeder) keys(ctx context.Context, a app.App) error {
	store := controlplane.New(s.store, strings.ToLower(a.Name+"."+a.UID)) // where the platform looks
	master, err := azfkey.Generate(azfkey.Master)
	if err != nil {
		return err
	}
	host := accesskey.Set{Master: accesskey.Key{Name: accesskey.MasterStoredName, Value: master}}
	if err := put(ctx, store, keystore.HostDoc, host, 1); err != nil {
		return err
	}
	for i := range Functions {
		if err := put(ctx, store, keystore.FunctionDoc(FunctionName(i)), accesskey.Set{}, KeysPerFunction); err != nil {
			return err
		}
	}
	return nil
}

// put writes a document with n keys besides what is in the set.
func put(ctx context.Context, store keystore.Store, doc keystore.Doc, set accesskey.Set, n int) error {
	names := []string{accesskey.DefaultName}
	for i := 1; i < n; i++ {
		names = append(names, fmt.Sprintf("client-%d", i))
	}
	for _, name := range names {
		value, err := azfkey.Generate(azfkey.Function)
		if err != nil {
			return err
		}
		set.Keys = append(set.Keys, accesskey.Key{Name: name, Value: value})
	}
	_, _, err := store.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) {
		return keystore.Document{Keys: set}, nil
	})
	return err
}
