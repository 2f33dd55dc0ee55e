package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// declaring is an app folder that declares keys.
type declaring struct {
	t    *testing.T
	dir  string
	env  []string
	c    *clock.Manual
	log  *lines
	node *Node
}

func newDeclaring(t *testing.T, yaml string, env ...string) *declaring {
	t.Helper()
	d := &declaring{
		t: t, dir: t.TempDir(), env: append([]string{"PATH=" + os.Getenv("PATH")}, env...),
		c: clock.NewManual(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)), log: &lines{},
	}
	d.write("host.json", `{"version": "2.0"}`)
	d.write("latchkey.yaml", yaml)
	return d
}

func (d *declaring) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *declaring) config() Config {
	return Config{Dir: d.dir, Environ: d.env, Clock: d.c, Log: d.log}
}

func (d *declaring) open() *Node {
	d.t.Helper()
	if d.node != nil {
		d.node.Close()
	}
	n, err := Open(d.t.Context(), d.config())
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(n.Close)
	d.node = n
	return n
}

func (d *declaring) value(sec keyring.Section, name string) string {
	d.t.Helper()
	k, err := d.node.keys.Get(d.t.Context(), sec, name)
	if err != nil {
		d.t.Fatal(err)
	}
	return k.Value
}

// document gives the key document as it is on disk.
func (d *declaring) document(doc keystore.Doc) (string, time.Time) {
	d.t.Helper()
	path := filepath.Join(d.dir, ".latchkey", "secrets", string(doc)+".json")
	text, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	info, _ := os.Stat(path)
	return string(text), info.ModTime()
}

const declaredYAML = `
keys:
  - {kind: master, valueEnv: DECLARED_MASTER}
  - {name: partner, valueFile: partner.txt, note: of the partner, cidrs: [10.0.0.0/8]}
  - {name: made, generate: true}
  - {function: hello, name: own, valueEnv: OWN}
`

func TestAStartMakesDeclaredKeysAndTheNextOneChangesNothing(t *testing.T) {
	d := newDeclaring(t, declaredYAML, "DECLARED_MASTER=master from the environment", "OWN=own from the environment")
	d.write("partner.txt", "partner from a file\n")
	d.open()
	if d.value(keyring.MasterKey(), "_master") != "master from the environment" || d.value(keyring.HostKeys(), "partner") != "partner from a file" ||
		d.value(keyring.FunctionKeys("hello"), "own") != "own from the environment" {
		t.Error("values are not as declared")
	}
	made := d.value(keyring.HostKeys(), "made")
	host, at := d.document(keystore.HostDoc)
	function, _ := d.document("hello")
	for range 2 {
		d.open()
	}
	host2, at2 := d.document(keystore.HostDoc)
	function2, _ := d.document("hello")
	if host != host2 || function != function2 || !at.Equal(at2) {
		t.Error("a document was written again")
	}
	if d.value(keyring.HostKeys(), "made") != made {
		t.Error("a generated value changed")
	}
	if !strings.Contains(d.log.String(), "no such function") {
		t.Errorf("no word of a function that is not there:\n%s", d.log)
	}
	for _, secret := range []string{"from the environment", "from a file", made} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

func TestFaultsOfDeclaredKeysEndAStartAllAtOnce(t *testing.T) {
	d := newDeclaring(t, `
keys:
  - {name: a, valueEnv: NOT_THERE}
  - {name: b, valueFile: none.txt}
  - {name: c, value: "@Microsoft.KeyVault(VaultName=v;SecretName=s)"}
`)
	_, err := Open(t.Context(), d.config())
	if problem.KindOf(err) != problem.Invalid {
		t.Fatal(err)
	}
	for _, part := range []string{"keys[0]: valueEnv: the variable NOT_THERE", "keys[1]: valueFile", "keys[2]: value: refers to a vault"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	m, err := LoadModel(d.config())
	if err != nil {
		t.Fatal(err)
	}
	if faults, _ := CheckDeclared(t.Context(), d.config(), m); len(faults) != 3 {
		t.Error(faults)
	}
}

func TestFileOfKeysInTheStockFormatSeedsContainer(t *testing.T) {
	d := newDeclaring(t, "")
	d.env = append(d.env, "LATCHKEY_KEYS_FILE="+filepath.Join(d.dir, "seed.json"))
	d.write("seed.json", `{"masterKey":{"name":"master","value":"seeded master","encrypted":false},"functionKeys":[{"name":"default","value":"seeded default","encrypted":false}],"systemKeys":[{"name":"x_extension","value":"seeded system","encrypted":false}]}`)
	d.open()
	if d.value(keyring.MasterKey(), "_master") != "seeded master" || hostKey(t, d.node) != "seeded default" || d.value(keyring.SystemKeys(), "x_extension") != "seeded system" {
		t.Error("not seeded")
	}
	before, _ := d.document(keystore.HostDoc)
	d.open()
	if after, _ := d.document(keystore.HostDoc); before != after {
		t.Error("seeding twice changed something")
	}
	d.write("latchkey.yaml", "keys: [{name: default, generate: true}]")
	if _, err := Open(t.Context(), d.config()); err == nil || !strings.Contains(err.Error(), "is declared in") {
		t.Errorf("a key declared twice: %v", err)
	}
}

func TestChangedDeclarationIsTakenUpWhileTheAppRuns(t *testing.T) {
	d := newDeclaring(t, "keys: [{name: partner, valueFile: partner.txt}]")
	d.write("partner.txt", "first value")
	n := d.open()
	round := func() { n.declareAnew(t.Context()) }
	if _, _, err := n.keys.Set(t.Context(), keyring.HostKeys(), "partner", "set by hand"); err != nil {
		t.Fatal(err)
	}
	round()
	if d.value(keyring.HostKeys(), "partner") != "set by hand" {
		t.Error("what was changed by hand was changed back without a change of the declaration")
	}
	d.write("partner.txt", "second value")
	round()
	if d.value(keyring.HostKeys(), "partner") != "second value" {
		t.Error("a change was not taken up")
	}
	d.write("latchkey.yaml", "keys: [{name: partner}]")
	round()
	if d.value(keyring.HostKeys(), "partner") != "second value" || !strings.Contains(d.log.String(), "what was declared before stays") {
		t.Errorf("a faulty declaration:\n%s", d.log)
	}
}

func TestStrictModeHoldsForDeclaredKeys(t *testing.T) {
	d := newDeclaring(t, "keys: [{name: partner, valueEnv: PARTNER}, {name: good, generate: true}]",
		"PARTNER=chosen by people", "AzureWebJobsFeatureFlags=EnableWorkerIndexing, stricthismodeenabled")
	n := d.open()
	if _, err := n.keys.Get(t.Context(), keyring.HostKeys(), "partner"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a key that is not identifiable was made: %v", err)
	}
	if d.value(keyring.HostKeys(), "good") == "" || !strings.Contains(d.log.String(), "StrictHISModeEnabled") {
		t.Errorf("no error:\n%s", d.log)
	}
}
