package platform_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/test/azurite"
)

// moved is what the management API says of a migration.
type moved struct {
	Done      bool `json:"done"`
	Documents []struct {
		Document string   `json:"document"`
		State    string   `json:"state"`
		Reason   string   `json:"reason"`
		Replaced []string `json:"replaced"`
	} `json:"documents"`
}

func (m moved) states() string {
	var list []string
	for _, d := range m.Documents {
		list = append(list, d.Document+" "+d.State)
	}
	return strings.Join(list, ", ")
}

func move(t *testing.T, p *platformtest.Platform, app string, in map[string]any) (m moved, err error) {
	t.Helper()
	err = p.Client.Do(t.Context(), http.MethodPost, p.Site(app)+"/host/default/migratekeys", in, &m)
	return m, err
}

// hostValues are the host's keys of an app.
type hostValues struct {
	Master    string            `json:"masterKey"`
	Functions map[string]string `json:"functionKeys"`
}

func hostValuesOf(t *testing.T, p *platformtest.Platform, app string) (v hostValues, err error) {
	t.Helper()
	err = p.Client.Do(t.Context(), http.MethodPost, p.Site(app)+"/host/default/listkeys", nil, &v)
	return v, err
}

// TestKeysOfAnAppMoveToAVaultAndBack: the whole way of an app that has keys. The
// setting alone changes nothing; once the keys are there, the app has the same
// ones; and back, where an old copy is in the way.
func TestKeysOfAnAppMoveToAVaultAndBack(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	makeVault(t, p, "appkeys", "unrelated", "stays")
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	letUse(t, p, "orders", "appkeys", secretsOfficer)
	uri := map[string]string{storeURI: strings.Replace(p.Cred.Endpoint, "://", "://appkeys.vault.", 1)}
	vault := map[string]string{storeURI: uri[storeURI], storeType: "keyvault"}
	setSettings(t, p, "orders", uri)
	setHostKey(t, p, "partner", "a-key-that-partners-have")
	before, err := hostValuesOf(t, p, "orders")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]any{"from": "controlplane", "to": "keyvault"}
	if m, err := move(t, p, "orders", there); err != nil || m.Done || m.states() != "host missing" {
		t.Fatalf("dry run: %+v %v", m, err)
	}

	// The setting without the keys: none are made, and none are served.
	setSettings(t, p, "orders", vault)
	platformtest.Until(t, "nothing is made in place of the keys", func() bool {
		_, err := hostValuesOf(t, p, "orders")
		return err != nil && strings.Contains(err.Error(), "has keys in the control plane")
	})
	there["apply"] = true
	if m, err := move(t, p, "orders", there); err != nil || !m.Done || m.states() != "host copied" {
		t.Fatalf("%+v %v", m, err)
	}
	same(t, p, "in the vault", before)
	if m, err := move(t, p, "orders", there); err != nil || !m.Done || m.states() != "host same" {
		t.Errorf("again: %+v %v", m, err)
	}

	// Back, after a change: the former copy is replaced only when that is asked for,
	// and never while it is what the app uses.
	setHostKey(t, p, "partner", "another-key-that-partners-have")
	changed, err := hostValuesOf(t, p, "orders")
	if err != nil || changed.Functions["partner"] == before.Functions["partner"] {
		t.Fatalf("%+v %v", changed, err)
	}
	back := map[string]any{"from": "keyvault", "to": "controlplane", "apply": true}
	if m, err := move(t, p, "orders", back); err != nil || m.Done || m.states() != "host blocked" || !strings.Contains(m.Documents[0].Reason, `"partner"`) {
		t.Errorf("%+v %v", m, err)
	}
	there["replace"] = true
	if _, err := move(t, p, "orders", there); err == nil || !strings.Contains(err.Error(), "not replaced") {
		t.Errorf("keys in use: %v", err)
	}
	back["replace"] = true
	m, err := move(t, p, "orders", back)
	if err != nil || !m.Done || m.states() != "host copied" || len(m.Documents[0].Replaced) != 1 {
		t.Errorf("%+v %v", m, err)
	}
	setSettings(t, p, "orders", uri)
	same(t, p, "in the control plane again", changed)
	p.Do(t, http.MethodGet, vaultID(p, "appkeys")+"/secrets/unrelated", nil, nil)
	for _, value := range append([]string{before.Master}, before.Functions["partner"], changed.Functions["partner"]) {
		if strings.Contains(p.Log.String(), value) {
			t.Error("a key is in the log")
		}
	}
}

func setHostKey(t *testing.T, p *platformtest.Platform, name, value string) {
	t.Helper()
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/"+name, map[string]any{"properties": map[string]string{"name": name, "value": value}}, nil)
}

// same waits until an app has exactly these keys.
func same(t *testing.T, p *platformtest.Platform, where string, want hostValues) {
	t.Helper()
	var got hostValues
	platformtest.Until(t, "the keys are the same "+where, func() bool {
		var err error
		got, err = hostValuesOf(t, p, "orders")
		return err == nil && cmp.Equal(got, want)
	})
}

// TestKeysOfAnAppMoveToAStorageAccount: of an app that is stopped.
func TestKeysOfAnAppMoveToAStorageAccount(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{AppNetworks: loopback})
	storage := azurite.Start(t, azurite.Options{})
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	before, err := hostValuesOf(t, p, "orders")
	if err != nil {
		t.Fatal(err)
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	settings := map[string]string{"AzureWebJobsStorage": storage.ConnectionString()}
	setSettings(t, p, "orders", settings)
	m, err := move(t, p, "orders", map[string]any{"from": "files", "to": "blob", "apply": true})
	if err != nil || !m.Done {
		t.Fatalf("%+v %v", m, err)
	}
	settings[storeType] = "blob"
	setSettings(t, p, "orders", settings)
	same(t, p, "in the blob", before)
	storage.Kill()
	if _, err := move(t, p, "orders", map[string]any{"from": "blob", "to": "controlplane"}); err == nil {
		t.Error("a source that is away")
	}
}

// TestAMigrationThatCannotBeIsRefused: by the member or the setting that is wrong.
func TestAMigrationThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	for want, in := range map[string]map[string]any{
		"from is missing":     {"to": "blob"},
		"to is missing":       {"from": "controlplane"},
		`to "etcd" names no`:  {"from": "controlplane", "to": "etcd"},
		`from " " names no`:   {"from": " ", "to": "blob"},
		"AzureWebJobsStorage": {"from": "controlplane", "to": "blob"},
		storeURI:              {"from": "keyvault", "to": "controlplane"},
		"already":             {"from": "controlplane", "to": "files"},
		storeType:             {"from": "controlplane", "to": "kubernetes"},
	} {
		if _, err := move(t, p, "orders", in); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%v: %v", in, err)
		}
	}
}
