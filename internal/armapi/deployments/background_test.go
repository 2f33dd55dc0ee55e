package deployments

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const (
	testSub = "11111111-2222-3333-4444-555555555555"
	testID  = "/subscriptions/" + testSub + "/resourceGroups/rg/providers/Microsoft.Resources/deployments/d"
)

// fixture is a service whose calls to resources last until they are let go.
type fixture struct {
	*Service
	t      *testing.T
	api    *arm.API
	inv    *inventory.Inventory
	called chan string   // gets the id of each resource that is deployed
	letGo  chan struct{} // closed for calls to end
}

// Allow implements arm.Authorizer.
func (*fixture) Allow(context.Context, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: true}, nil
}

func newFixture(t *testing.T, inv *inventory.Inventory, more func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, inv: inv, called: make(chan string, 10), letGo: make(chan struct{})}
	cfg := Config{
		Inventory: inv, TenantID: "t", SubscriptionID: testSub, Node: "one", Clock: inv.Clock, Patience: time.Millisecond,
		Invoke: func(ctx context.Context, in arm.Inner) (int, []byte, error) {
			f.called <- in.ID
			select {
			case <-f.letGo:
				return http.StatusOK, []byte(`{}`), nil
			case <-ctx.Done():
				return 0, nil, ctx.Err()
			}
		},
	}
	if more != nil {
		more(&cfg)
	}
	var err error
	if f.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	f.api, err = arm.New(arm.Config{
		Authenticate: func(context.Context, *http.Request) (arm.Caller, error) { return arm.Caller{ObjectID: "me"}, nil }, Authorize: f,
	}, f.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newInventory(t *testing.T) *inventory.Inventory {
	t.Helper()
	inv := &inventory.Inventory{Store: memory.New(clock.Real{}), Clock: clock.Real{}}
	_, _, err := inv.Write(t.Context(), resource.Group(testSub, "rg"), "me", func(old inventory.Resource, _ bool) (inventory.Resource, error) {
		old.Location = "local"
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func (f *fixture) call(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://localhost:7443"+path+"?api-version=2022-09-01", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer x")
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	return w
}

// begin begins a deployment and waits until it deploys its only resource.
func (f *fixture) begin(path string) string {
	f.t.Helper()
	w := f.call(http.MethodPut, path, `{"properties": {"mode": "Incremental", template:{ "resources": [
		{"type": "A.B/c", "name": "x", "apiVersion": "2020-01-01", "properties": {}}, // a comment
	]}}}`)
	poll := w.Header().Get("Azure-AsyncOperation")
	if w.Code != http.StatusCreated || !strings.HasPrefix(poll, "https://localhost:7443"+path+"/operationStatuses/") {
		f.t.Fatalf("%d %q %s", w.Code, poll, w.Body)
	}
	select {
	case <-f.called:
	case <-time.After(30 * time.Second):
		f.t.Fatal("the resource is not deployed")
	}
	return strings.TrimSuffix(strings.TrimPrefix(poll, "https://localhost:7443"), "?api-version=2022-09-01")
}

// becomes waits for the status of an operation and gives its error's code.
func (f *fixture) becomes(poll, want string) string {
	f.t.Helper()
	var status struct {
		Status string
		Error  struct{ Code string }
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w := f.call(http.MethodGet, poll, "")
		if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || w.Code != http.StatusOK {
			f.t.Fatalf("%d %s", w.Code, w.Body)
		}
		if status.Status == want {
			return status.Error.Code
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("it is %s still, not %s", status.Status, want)
		}
	}
}

func TestLongDeploymentsGoOnInTheBackground(t *testing.T) {
	f := newFixture(t, newInventory(t), nil)
	poll := f.begin(testID)
	f.becomes(poll, "Running")
	if w := f.call(http.MethodPut, testID, `{"properties": {"template": {}}}`); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "DeploymentActive") {
		t.Errorf("a second one: %d %s", w.Code, w.Body)
	}
	if w := f.call(http.MethodDelete, testID, ""); w.Code != http.StatusConflict {
		t.Errorf("deleting it: %d %s", w.Code, w.Body)
	}
	close(f.letGo)
	f.becomes(poll, "Succeeded")
	for _, path := range []string{testID + "/operations/", "/subscriptions/" + testSub + "/resourcegroups/rg/deployments/d/operations"} {
		if w := f.call(http.MethodGet, path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "/providers/A.B/c/x") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := f.call(http.MethodHead, testID, ""); w.Code != http.StatusNoContent {
		t.Errorf("HEAD: %d", w.Code)
	}
	if w := f.call(http.MethodPost, testID+"/cancel", ""); w.Code != http.StatusConflict {
		t.Errorf("cancelling what has ended: %d %s", w.Code, w.Body)
	}
	if w := f.call(http.MethodDelete, testID, ""); w.Code != http.StatusNoContent {
		t.Errorf("deleting it: %d %s", w.Code, w.Body)
	}
	if w := f.call(http.MethodHead, testID, ""); w.Code != http.StatusNotFound {
		t.Errorf("HEAD after that: %d", w.Code)
	}
}

func TestCancelledDeploymentsEnd(t *testing.T) {
	f := newFixture(t, newInventory(t), nil)
	poll := f.begin(testID)
	if w := f.call(http.MethodPost, testID+"/cancel", ""); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if code := f.becomes(poll, "Canceled"); code != "DeploymentCanceled" {
		t.Error(code)
	}
}

func TestDeploymentsOfAStoppedNodeHaveFailed(t *testing.T) {
	inv := newInventory(t)
	f := newFixture(t, inv, nil)
	poll := f.begin(testID)
	f.Close()
	if code := f.becomes(poll, "Failed"); code != "DeploymentInterrupted" {
		t.Error(code)
	}
	if w := f.call(http.MethodPut, testID, `{"properties": {"template": {}}}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("another one: %d %s", w.Code, w.Body)
	}
}

// A node that is killed records nothing: its next start does, and until then what
// gives no sign of life counts as failed.
func TestDeploymentsOfAKilledNodeHaveFailed(t *testing.T) {
	f := newFixture(t, newInventory(t), nil)
	now := time.Now()
	for name, kept := range map[string]private{
		"mine":  {Attempt: "a", Node: "one", Begun: now.Add(-time.Minute), Alive: now},
		"other": {Attempt: "a", Node: "two", Begun: now.Add(-time.Minute), Alive: now},
		"stale": {Attempt: "a", Node: "two", Begun: now.Add(-time.Hour), Alive: now.Add(-time.Hour)},
	} {
		id, err := resource.Parse(testID + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.create(t.Context(), id, "me", record{shown: shown{ProvisioningState: running}, kept: kept}); err != nil {
			t.Fatal(err)
		}
	}
	const poll = "/operationStatuses/a"
	f.becomes(testID+"mine"+poll, "Running")
	if err := f.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := f.becomes(testID+"mine"+poll, "Failed"); code != "DeploymentInterrupted" {
		t.Error(code)
	}
	f.becomes(testID+"other"+poll, "Running")
	f.becomes(testID+"stale"+poll, "Failed")
}

func TestTooManyDeploymentsAreRefused(t *testing.T) {
	f := newFixture(t, newInventory(t), func(c *Config) { c.Running, c.Waiting = 1, 1 })
	f.begin(testID + "1")
	second := f.call(http.MethodPut, testID+"2", `{"properties": {"template": {}}}`)
	third := f.call(http.MethodPut, testID+"3", `{"properties": {"template": {}}}`)
	if second.Code != http.StatusCreated || third.Code != http.StatusTooManyRequests {
		t.Errorf("%d %s, %d %s", second.Code, second.Body, third.Code, third.Body)
	}
	close(f.letGo)
	platformWait(t, func() bool { return f.call(http.MethodGet, testID+"2", "").Code == http.StatusOK })
}

func platformWait(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

func TestDisabledPrincipalsDeployNothingMore(t *testing.T) {
	f := newFixture(t, newInventory(t), func(c *Config) {
		c.Patience = 30 * time.Second
		c.Active = func(context.Context, string) error { return errors.New("disabled") }
	})
	w := f.call(http.MethodPut, testID, `{"properties": {"template": {"resources": [{"type": "A.B/c", "name": "x", "apiVersion": "2020-01-01"}]}}}`)
	if !strings.Contains(w.Body.String(), "AuthorizationFailed") || len(f.called) > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestAPanicFailsOneDeployment: what a stranger's template brings about must not
// end the node.
func TestAPanicFailsOneDeployment(t *testing.T) {
	f := newFixture(t, newInventory(t), func(cfg *Config) {
		cfg.Invoke = func(context.Context, arm.Inner) (int, []byte, error) { panic("for the test") }
	})
	path := "/subscriptions/" + testSub + "/resourceGroups/rg/providers/Microsoft.Resources/deployments/d"
	f.call(http.MethodPut, path, `{"properties": {"mode": "Incremental", "template": {"resources": [
		{"type": "A.B/c", "name": "x", "apiVersion": "2020-01-01", "properties": {}}]}}}`)
	deadline := time.Now().Add(time.Minute)
	for {
		got := f.call(http.MethodGet, path, "").Body.String()
		if strings.Contains(got, `"Failed"`) && strings.Contains(got, "InternalServerError") && !strings.Contains(got, "for the test") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the deployment is %s", got)
		}
		time.Sleep(5 * time.Millisecond) // it goes on in the background
	}
}
