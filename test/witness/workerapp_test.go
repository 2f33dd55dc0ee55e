package witness

import (
	archive "archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v4"

	"github.com/latchkey/latchkey/internal/testkit"
)

// workerPackage is a zip of an app whose handler is the program in folder worker.
var workerPackage = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "latchkey-witness")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "worker")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "./worker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		"host.json":  `{"version":"2.0","customHandler":{"enableForwardingHttpRequest":true,"description":{"defaultExecutablePath":"bin/worker"}}}`,
		"bin/worker": string(text),
	}
	for _, f := range []string{"env", "token", "secret"} {
		files[f+"/function.json"] = testkit.HTTPFunction("function", "")
	}
	return zipOf(files)
})

func zipOf(files map[string]string) ([]byte, error) {
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	for name, text := range files {
		header := &archive.FileHeader{Name: name, Method: archive.Store}
		header.SetMode(0o755)
		f, err := w.CreateHeader(header)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// workerApp is an app whose worker does what a test asks.
type workerApp struct {
	goClient
	name, key string
}

// worker makes an app in the group "rg", with settings, and deploys the worker.
func (c goClient) worker(t *testing.T, name string, identity *armappservice.ManagedServiceIdentity, settings map[string]string) workerApp {
	t.Helper()
	list := []*armappservice.NameValuePair{{Name: to.Ptr("FUNCTIONS_WORKER_RUNTIME"), Value: to.Ptr("custom")}}
	for k, v := range settings {
		list = append(list, &armappservice.NameValuePair{Name: &k, Value: &v})
	}
	making, err := c.web.BeginCreateOrUpdate(t.Context(), "rg", name, armappservice.Site{
		Location: to.Ptr("local"), Kind: to.Ptr("functionapp,linux"), Identity: identity,
		Properties: &armappservice.SiteProperties{SiteConfig: &armappservice.SiteConfig{AppSettings: list}},
	}, nil)
	must(t, err)
	_, err = making.PollUntilDone(t.Context(), nil)
	must(t, err)
	packed, err := workerPackage()
	must(t, err)
	c.deployZip(t, name, packed)
	keys, err := c.web.ListHostKeys(t.Context(), "rg", name, nil)
	must(t, err)
	return workerApp{c, name, *keys.FunctionKeys["default"]}
}

// told is what a worker answered.
type told struct {
	Env            map[string]string
	PID            int
	Token          string
	Expires        int64
	Value, Version string
	Seen           []int  // statuses of the vault's answers
	Error, Type    string // of the library's error
	Code           string
	Status         int
}

// try asks the worker; pairs are names and values of the query. A status other
// than 200 is an error: the worker always answers.
func (w workerApp) try(ctx context.Context, what string, pairs ...string) (got told, err error) {
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		query.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.p.Functions+"/api/"+what+"?"+query.Encode(), nil)
	if err != nil {
		return got, err
	}
	req.Host = w.name + ".localhost"
	req.Header.Set("x-functions-key", w.key)
	resp, err := w.http.Do(req)
	if err != nil {
		return got, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d %s", w.name, resp.StatusCode, text)
	}
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(text, &got)
}

// ask is try for requests that must succeed.
func (w workerApp) ask(t testing.TB, what string, pairs ...string) told {
	t.Helper()
	got, err := w.try(t.Context(), what, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// env gives variables of the worker's environment.
func (w workerApp) env(t testing.TB, names ...string) map[string]string {
	t.Helper()
	var pairs []string
	for _, n := range names {
		pairs = append(pairs, "name", n)
	}
	return w.ask(t, "env", pairs...).Env
}

// assign gives the app identities: block is its whole identity.
func (w workerApp) assign(t testing.TB, block *armappservice.ManagedServiceIdentity) *armappservice.ManagedServiceIdentity {
	t.Helper()
	site, err := w.web.Update(t.Context(), "rg", w.name, armappservice.SitePatchResource{Identity: block}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return site.Identity
}

// identities makes an identity block: the app's own and user-assigned ones.
func identities(kind armappservice.ManagedServiceIdentityType, users ...string) *armappservice.ManagedServiceIdentity {
	block := &armappservice.ManagedServiceIdentity{Type: &kind}
	if len(users) > 0 {
		block.UserAssignedIdentities = map[string]*armappservice.UserAssignedIdentity{}
	}
	for _, id := range users {
		block.UserAssignedIdentities[id] = &armappservice.UserAssignedIdentity{}
	}
	return block
}

const (
	ownIdentity  = armappservice.ManagedServiceIdentityTypeSystemAssigned
	userIdentity = armappservice.ManagedServiceIdentityTypeUserAssigned
	bothKinds    = armappservice.ManagedServiceIdentityTypeSystemAssignedUserAssigned
)
