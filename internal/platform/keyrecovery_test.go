package platform_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/test/azurite"
)

// keyChecks gives what the platform finds about the keys of an app, as text.
func keyChecks(t *testing.T, p *platformtest.Platform, app string) string {
	t.Helper()
	var out struct {
		Value []struct{ Check, Status, Message, Next string } `json:"value"`
	}
	p.Do(t, http.MethodPost, p.Site(app)+"/host/default/checkkeys", nil, &out)
	var b strings.Builder
	for _, c := range out.Value {
		b.WriteString(c.Status + " " + c.Check + " " + c.Message + " | " + c.Next + "\n")
	}
	return b.String()
}

type recovered struct{ Copy, Restored, NotMade, Next string }

// recoverKeys asks for discardkeys or restorekeys of an app's host document.
func recoverKeys(t *testing.T, p *platformtest.Platform, what, from string) (out recovered, err error) {
	t.Helper()
	err = p.Client.Do(t.Context(), http.MethodPost, p.Site("orders")+"/host/default/"+what, map[string]string{"document": "host", "copy": from}, &out)
	return out, err
}

type keyCopy struct {
	Document, Copy, Now, Reason string
	Opens                       bool
	Keys                        int
}

// keyCopies gives the copies of key documents by name.
func keyCopies(t *testing.T, p *platformtest.Platform) map[string]keyCopy {
	t.Helper()
	var out struct{ Value []keyCopy }
	p.Do(t, http.MethodGet, p.Site("orders")+"/host/default/keycopies", nil, &out)
	all := map[string]keyCopy{}
	for _, c := range out.Value {
		all[c.Copy] = c
	}
	return all
}

// removesCopies: what is kept is listed without values, and goes when nobody needs it.
func removesCopies(t *testing.T, p *platformtest.Platform, restored, other string) {
	t.Helper()
	list := keyCopies(t, p)
	if c := list[restored]; !c.Opens || c.Now != "same" || c.Keys != 2 || c.Document != "host" {
		t.Errorf("the copy that was restored: %+v", c)
	}
	if c := list[other]; !c.Opens || c.Now != "other" {
		t.Errorf("the copy of what was there: %+v", c)
	}
	if _, err := recoverKeys(t, p, "removekeycopy", other); err != nil {
		t.Error(err)
	}
	if after := keyCopies(t, p); len(after) != len(list)-1 || after[restored].Copy == "" {
		t.Errorf("after one was removed: %+v", after)
	}
	if _, err := recoverKeys(t, p, "removekeycopy", other); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a copy that is gone: %v", err)
	}
	if _, err := recoverKeys(t, p, "removekeycopy", "host"); problem.KindOf(err) != problem.Invalid {
		t.Errorf("no copy: %v", err)
	}
}

// calls waits until the app answers a key with a status.
func calls(t *testing.T, p *platformtest.Platform, key string, want int) {
	t.Helper()
	platformtest.Until(t, "the app answers as it should", func() bool {
		status, _, err := p.TryCall(t.Context(), "orders", "/api/f", key)
		return err == nil && status == want
	})
}

// hostDocument finds the key of the state where the keys of the app's host are.
func hostDocument(t *testing.T, s state.Store) state.Key {
	t.Helper()
	list, err := s.List(t.Context(), "/keys/", state.Page{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Documents {
		if strings.HasSuffix(string(d.Key), "/host") {
			return d.Key
		}
	}
	t.Fatal("there are no host keys")
	return ""
}

func writeState(t *testing.T, s state.Store, key state.Key, value []byte) {
	t.Helper()
	if _, err := s.Write(t.Context(), state.Put(key, value, state.Any)); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedKeysInTheControlPlane: each way out, on an app that runs all the time
// and whose requests with the last good keys are served meanwhile.
func TestDamagedKeysInTheControlPlane(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, old := p.HostKeys(t, "orders")
	calls(t, p, old, http.StatusOK)
	if _, err := recoverKeys(t, p, "discardkeys", ""); err == nil || !strings.Contains(err.Error(), "opens; it is not discarded") {
		t.Errorf("a good document: %v", err)
	}
	if got := keyChecks(t, p, "orders"); !strings.Contains(got, "ok keys host opens, keys: 2") || strings.Contains(got, "fail") {
		t.Errorf("a good document: %s", got)
	}

	raw, open := p.Node.States()
	at := hostDocument(t, raw)
	good, err := raw.Get(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Clone(good.Value)
	spoilt[len(spoilt)/2] ^= 1
	spoil := func() {
		t.Helper()
		writeState(t, raw, at, spoilt)
		platformtest.Until(t, "the damage is noticed, a copy kept, and what to do said", func() bool {
			got := keyChecks(t, p, "orders")
			return strings.Contains(got, "the last good keys stay in use") && strings.Contains(got, "fail keys host:") &&
				strings.Contains(got, "latchkey keystore discard host --app orders --yes") && strings.Contains(got, ". Copies: host.snapshot.")
		})
		calls(t, p, old, http.StatusOK)
		if ready := p.Node.Readiness(t.Context()); !ready.Ready || !slices.ContainsFunc(ready.Checks, func(c telemetry.CheckResult) bool {
			return c.Name == "keys" && c.Degraded && strings.Contains(c.Reason, "app orders: ")
		}) {
			t.Errorf("probes are told: %+v", ready)
		}
	}

	// First way: what was there is put back in the state.
	spoil()
	writeState(t, raw, at, good.Value)
	platformtest.Until(t, "the keys are read again", func() bool { return !strings.Contains(keyChecks(t, p, "orders"), "last good") })
	calls(t, p, old, http.StatusOK)

	// Second: given up. The new keys are in force at once.
	spoil()
	gone, err := recoverKeys(t, p, "discardkeys", "")
	if err != nil || gone.Copy == "" || gone.NotMade != "" {
		t.Fatalf("%+v %v", gone, err)
	}
	calls(t, p, old, http.StatusUnauthorized)
	_, fresh := p.HostKeys(t, "orders")
	calls(t, p, fresh, http.StatusOK)

	// The copy does not open: nothing changes. Once it does, its keys are in force.
	if _, err := recoverKeys(t, p, "restorekeys", gone.Copy); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("a copy that does not open: %v", err)
	}
	calls(t, p, fresh, http.StatusOK)
	writeState(t, open, state.Key(strings.TrimSuffix(string(at), "host")+gone.Copy), good.Value)
	back, err := recoverKeys(t, p, "restorekeys", gone.Copy)
	if err != nil || back.Copy == "" {
		t.Fatalf("%+v %v", back, err)
	}
	calls(t, p, fresh, http.StatusUnauthorized)
	calls(t, p, old, http.StatusOK)

	removesCopies(t, p, gone.Copy, back.Copy)
	calls(t, p, old, http.StatusOK)
	spoil()
	for name, c := range keyCopies(t, p) {
		if c.Now != "damaged" {
			t.Errorf("the document is damaged: %s: %+v", name, c)
		}
	}
	writeState(t, raw, at, good.Value)
	for _, name := range []string{"", "../host", "host.snapshot.none.json", "f.snapshot.a.json"} {
		if _, err := recoverKeys(t, p, "restorekeys", name); err == nil {
			t.Errorf("restored from %q", name)
		}
	}
	recorded(t, p, "discardkeys", "restorekeys")
	if strings.Contains(p.Log.String(), old) || strings.Contains(p.Log.String(), fresh) {
		t.Error("a key is in the log")
	}
}

// recorded waits until operations are in the audit record.
func recorded(t *testing.T, p *platformtest.Platform, operations ...string) {
	t.Helper()
	for _, op := range operations {
		platformtest.Until(t, op+" is recorded", func() bool {
			for _, e := range events(t, p, "Write") {
				if action, _ := e["action"].(string); strings.EqualFold(action, "Microsoft.Web/sites/host/"+op+"/action") {
					return true
				}
			}
			return false
		})
	}
}

// TestSealedKeysInAStorageAccount: each way out for an app whose keys are sealed with
// an encryption key that its settings do not have any more.
func TestSealedKeysInAStorageAccount(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{AppNetworks: loopback})
	storage := azurite.Start(t, azurite.Options{})
	up := platformtest.Upstream(t, saying("hello"))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, old := p.HostKeys(t, "orders")
	set := func(encryption string) {
		t.Helper()
		setSettings(t, p, "orders", map[string]string{
			testkit.UpstreamSetting: up, "FUNCTIONS_WORKER_RUNTIME": "custom", "AzureWebJobsStorage": storage.ConnectionString(),
			storeType: "blob", "AzureWebEncryptionKey": encryption,
		})
	}
	const right = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	wrong := strings.ReplaceAll(right, "0", "F")
	set(right)
	into := map[string]any{"from": "controlplane", "to": "blob", "apply": true}
	if m, err := move(t, p, "orders", into); err != nil || !m.Done {
		t.Fatalf("%+v %v", m, err)
	}
	calls(t, p, old, http.StatusOK)

	// First way: the right encryption key.
	closed := func() {
		t.Helper()
		platformtest.Until(t, "what to do is said", func() bool {
			got := keyChecks(t, p, "orders")
			return strings.Contains(got, "fail keys host:") && strings.Contains(got, "AzureWebEncryptionKey") &&
				strings.Contains(got, "latchkey keystore discard host --app orders --yes") && strings.Contains(got, "ok store the store permits write")
		})
	}
	set(wrong)
	closed()
	set(right)
	calls(t, p, old, http.StatusOK)

	// Second: given up. The control plane still has keys, which no new ones take the
	// place of; they can be brought back.
	set(wrong)
	closed()
	gone, err := recoverKeys(t, p, "discardkeys", "")
	if err != nil || !strings.Contains(gone.NotMade, "has keys in the control plane") || gone.Next == "" {
		t.Fatalf("%+v %v", gone, err)
	}
	if m, err := move(t, p, "orders", into); err != nil || !m.Done {
		t.Fatalf("%+v %v", m, err)
	}
	calls(t, p, old, http.StatusOK)

	// Last: the copy, with the key that it was sealed with.
	set(right)
	closed()
	if back, err := recoverKeys(t, p, "restorekeys", gone.Copy); err != nil || back.Copy == "" {
		t.Fatalf("%+v %v", back, err)
	}
	calls(t, p, old, http.StatusOK)
}

// TestKeysOfAVaultAreRecoveredThere: no copy is made of what is in a vault; the
// error says how its former state is brought back, and that is taken up.
func TestKeysOfAVaultAreRecoveredThere(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "appkeys", "host--masterKey--master", "the-master-of-the-vault")
	up := platformtest.Upstream(t, saying("hello"))
	p.CreateApp(t, "orders", up)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	letUse(t, p, "orders", "appkeys", secretsOfficer)
	setSettings(t, p, "orders", map[string]string{
		testkit.UpstreamSetting: up, "FUNCTIONS_WORKER_RUNTIME": "custom",
		storeType: "keyvault", storeURI: strings.Replace(p.Cred.Endpoint, "://", "://appkeys.vault.", 1),
	})
	masterIs(t, p, "orders", "the-master-of-the-vault", true)
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/extra", map[string]any{"properties": map[string]string{"name": "extra", "value": "an-extra-key"}}, nil)
	calls(t, p, "an-extra-key", http.StatusOK)
	enable := func(on bool) {
		t.Helper()
		p.Do(t, http.MethodPut, vaultID(p, "appkeys")+"/secrets/host--masterKey--master", map[string]any{"properties": map[string]any{
			"value": "the-master-of-the-vault", "attributes": map[string]bool{"enabled": on}}}, nil)
	}
	enable(false)
	platformtest.Until(t, "what to do is said", func() bool {
		return strings.Contains(keyChecks(t, p, "orders"), "enable it")
	})
	if _, err := recoverKeys(t, p, "discardkeys", ""); err == nil || !strings.Contains(err.Error(), "keeps no copies") {
		t.Error(err)
	}
	calls(t, p, "an-extra-key", http.StatusOK)
	enable(true)
	platformtest.Until(t, "the keys are read again", func() bool { return !strings.Contains(keyChecks(t, p, "orders"), "fail") })
	masterIs(t, p, "orders", "the-master-of-the-vault", true)
}
