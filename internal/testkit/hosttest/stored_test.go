package hosttest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/testkit"
)

// storedKey and storedKeys are what a stock host reads in a shared folder.
type storedKey struct {
	Name, Value string
	Encrypted   bool
}

type storedKeys struct {
	MasterKey                      storedKey
	FunctionKeys, SystemKeys, Keys []storedKey
	Source                         string
}

// shared starts a host on a folder of the stock host's format.
func shared(t *testing.T, more map[string]string) (*testkit.Host, func(name string) storedKeys) {
	t.Helper()
	dir := t.TempDir()
	settings := map[string]string{"FUNCTIONS_SECRETS_PATH": dir}
	for name, value := range more {
		settings[name] = value
	}
	h := testkit.Start(t, testkit.App{Files: threeLevels(), Settings: settings})
	return h, func(name string) storedKeys {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var s storedKeys
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
}

const chosen = "a-chosen-value-0123456789-0123456789"

// TestChangesAreInTheStockHostsFiles: where each kind of key ends up, as it was
// given or as the answer says it was made.
func TestChangesAreInTheStockHostsFiles(t *testing.T) {
	h, file := shared(t, nil)
	if got := file("host.json"); got.Source != "runtime" || len(got.FunctionKeys) != 1 || got.FunctionKeys[0].Name != "default" ||
		len(got.SystemKeys) != 0 || got.MasterKey != (storedKey{"master", h.Master(t), false}) {
		t.Errorf("host.json holds %+v", got)
	}
	first := h.FunctionKey(t, "closed")
	if diff := cmp.Diff([]storedKey{{"default", first, false}}, file("closed.json").Keys); diff != "" {
		t.Errorf("closed.json: %s", diff)
	}
	for _, tt := range []struct {
		scope, file string
		list        func(storedKeys) []storedKey
	}{
		{"/admin/functions/closed/keys", "closed.json", func(s storedKeys) []storedKey { return s.Keys }},
		{"/admin/host/functionkeys", "host.json", func(s storedKeys) []storedKey { return s.FunctionKeys }},
		{"/admin/host/systemkeys", "host.json", func(s storedKeys) []storedKey { return s.SystemKeys }},
	} {
		before := append([]storedKey{}, tt.list(file(tt.file))...)
		var made keyBody
		h.Send(t, testkit.Request{Method: "POST", Path: tt.scope + "/made", Key: h.Master(t)}).WantStatus(t, 201).JSON(t, &made)
		h.Send(t, testkit.Request{Method: "PUT", Path: tt.scope + "/given", Key: h.Master(t), Body: `{"value":"` + chosen + `"}`}).WantStatus(t, 201)
		want := append(before, storedKey{"made", made.Value, false}, storedKey{"given", chosen, false})
		if diff := cmp.Diff(want, tt.list(file(tt.file))); diff != "" {
			t.Errorf("%s: %s", tt.scope, diff)
		}
		if got := file(tt.file); tt.file == "host.json" && got.MasterKey.Value != h.Master(t) {
			t.Errorf("%s: the master key became %+v", tt.scope, got.MasterKey)
		}
	}
	old := h.Master(t)
	var made keyBody
	h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/host/systemkeys/_master", Key: old, Body: `{"value":"` + chosen + `"}`}).WantStatus(t, 200)
	if got := file("host.json").MasterKey; got != (storedKey{"master", chosen, false}) {
		t.Errorf("the master key is %+v", got)
	}
	h.Send(t, testkit.Request{Method: "POST", Path: "/admin/host/systemkeys/_master", Key: chosen}).WantStatus(t, 201).JSON(t, &made)
	if got := file("host.json").MasterKey; got.Value != made.Value || !azfkey.Check(made.Value, azfkey.Master) {
		t.Errorf("the master key is not the one made")
	}
}

// TestStoredValuesAreSealedWhereThePlatformSeals: the answer is in clear, the file
// is not.
func TestStoredValuesAreSealedWhereThePlatformSeals(t *testing.T) {
	h, file := shared(t, map[string]string{"AzureWebEncryptionKey": encryptionKey})
	var given keyBody
	h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/functions/closed/keys/given", Key: h.Master(t), Body: `{"value":"` + chosen + `"}`}).
		WantStatus(t, 201).JSON(t, &given)
	if given.Value != chosen {
		t.Error("the answer is not in clear")
	}
	host, own := file("host.json"), file("closed.json")
	all := append(append(append(host.FunctionKeys, host.SystemKeys...), own.Keys...), host.MasterKey)
	if len(own.Keys) != 2 || own.Keys[1].Name != "given" {
		t.Errorf("closed.json holds %+v", own)
	}
	for _, k := range all {
		if !k.Encrypted || !strings.HasPrefix(k.Value, "CfDJ8AAAAAAAAAAAAAAAAAAAAA") || strings.Contains(k.Value, chosen) {
			t.Errorf("key %s is stored as %.30s…, encrypted %v", k.Name, k.Value, k.Encrypted)
		}
	}
	h.Get(t, "/admin/functions/closed/keys/given", h.Master(t)).WantStatus(t, 200).JSON(t, &given)
	if given.Value != chosen {
		t.Error("what was stored does not come back")
	}
}
