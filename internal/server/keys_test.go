package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

const clearHost = `{"masterKey":{"name":"master","value":"a-master-key-in-clear","encrypted":false},` +
	`"functionKeys":[{"name":"default","value":"a-host-key-in-clear","encrypted":false}],"systemKeys":[]}`

// put writes a key document and gives its path.
func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeysBroughtInClearAreSealedUnchanged(t *testing.T) {
	cfg := shop(t)
	var log strings.Builder
	cfg.Log = &log
	path := put(t, filepath.Join(cfg.Dir, ".latchkey", "secrets"), "host.json", clearHost)
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	master, err := keys.Get(t.Context(), keyring.MasterKey(), "_master")
	if err != nil || master.Value != "a-master-key-in-clear" {
		t.Fatalf("%v %v", master, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "in-clear") || !strings.Contains(string(text), `"lk1.`) {
		t.Errorf("still in clear: %v\n%s", err, text)
	}
	if said := log.String(); !strings.Contains(said, `the master key, host key`) || strings.Contains(said, "in-clear") {
		t.Errorf("sealed without a word, or with too many: %s", said)
	}
}

func TestAKeyAddedInClearWithoutTheKeysetIsNoKey(t *testing.T) {
	cfg := shop(t)
	if err := list(t, cfg); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, ".latchkey", "secrets", "host.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `"functionKeys": [`, `"functionKeys": [{"name":"evil","value":"planted","encrypted":false},`, 1))
	put(t, filepath.Dir(path), "host.json", string(text))
	if err := list(t, cfg); problem.KindOf(err) != problem.Undecryptable || !strings.Contains(err.Error(), `"evil"`) || problem.NextOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
		t.Errorf("the trace is gone: %v\n%s", err, now)
	}
}

func TestANodeWarnsOfKeyFilesOthersCanRead(t *testing.T) {
	cfg := shop(t)
	if err := list(t, cfg); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, ".latchkey", "secrets", "host.json")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cfg.Log = &log
	node, err := server.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	node.Close()
	if said := log.String(); !strings.Contains(said, "WARN") || !strings.Contains(said, path+" is open to other users") {
		t.Errorf("no warning: %s", said)
	}
}

func TestKeysInAFolderSharedWithAStockHostStayInClear(t *testing.T) {
	cfg := shop(t)
	dir := t.TempDir()
	path := put(t, dir, "host.json", clearHost)
	cfg.Environ = append(cfg.Environ, "FUNCTIONS_SECRETS_PATH="+dir)
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if _, _, err := keys.Set(t.Context(), keyring.HostKeys(), "mine", "another-host-key"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "another-host-key") || !strings.Contains(string(text), "a-master-key-in-clear") {
		t.Errorf("a stock host could not read it: %v\n%s", err, text)
	}
}

func TestSealedKeysWithoutTheirKeysetAreNotJoinedByNewOnes(t *testing.T) {
	cfg := shop(t)
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys.Close()
	seal := filepath.Join(cfg.Dir, ".latchkey", "seal")
	if err := os.RemoveAll(seal); err != nil {
		t.Fatal(err)
	}
	_, err = server.OpenKeys(t.Context(), cfg)
	if problem.KindOf(err) != problem.Undecryptable || problem.NextOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(seal); !os.IsNotExist(err) {
		t.Errorf("a new keyset was made: %v", err)
	}
}

func TestAPipeInPlaceOfKeysIsNotWaitedFor(t *testing.T) {
	cfg := shop(t)
	dir := filepath.Join(cfg.Dir, ".latchkey", "secrets")
	if err := errors.Join(os.MkdirAll(dir, 0o700), syscall.Mkfifo(filepath.Join(dir, "host.json"), 0o600)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- list(t, cfg) }()
	select {
	case err := <-ended:
		if !errors.Is(err, problem.Undecryptable) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("waits for ever")
	}
}

func TestTheDataFolderIsIgnoredByGit(t *testing.T) {
	cfg := shop(t)
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	keys.Close()
	text, err := os.ReadFile(filepath.Join(cfg.Dir, ".latchkey", ".gitignore"))
	if err != nil || string(text) != "*\n" {
		t.Errorf("%q %v", text, err)
	}
}

func TestUnknownAndIncompleteKeyStoresAreRefusedByName(t *testing.T) {
	tests := map[string]struct {
		kind  error
		names string
	}{
		"elsewhere": {problem.Unsupported, "AzureWebJobsSecretStorageType"},
		"keyvault":  {problem.Invalid, "AzureWebJobsSecretStorageKeyVaultUri"},
		"blob":      {problem.Invalid, "AzureWebJobsStorage"},
	}
	for kind, tt := range tests {
		t.Run(kind, func(t *testing.T) {
			cfg := shop(t)
			cfg.Environ = append(cfg.Environ, "AzureWebJobsSecretStorageType="+kind)
			_, err := server.OpenKeys(t.Context(), cfg)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(filepath.Join(cfg.Dir, ".latchkey")); !os.IsNotExist(err) {
				t.Errorf("something was made all the same: %v", err)
			}
			for _, c := range server.Examine(t.Context(), cfg) {
				if c.Name == "keys" && (c.Status != server.CheckFailed || !strings.Contains(c.Message, tt.names)) {
					t.Errorf("doctor: %+v", c)
				}
			}
		})
	}
}

func TestMountedKeysServeAndAreNeverChanged(t *testing.T) {
	cfg, dir := shop(t), t.TempDir()
	put(t, dir, "host.master", "a-mounted-master\n")
	cfg.Environ = append(cfg.Environ, "AzureWebJobsSecretStorageType=ContainerApps", "LATCHKEY_MOUNTED_KEYS="+dir)
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if master, err := keys.Get(t.Context(), keyring.MasterKey(), "_master"); err != nil || master.Value != "a-mounted-master" {
		t.Errorf("%v %v", master, err)
	}
	if _, _, err := keys.Renew(t.Context(), keyring.MasterKey(), "_master"); !errors.Is(err, problem.ReadOnly) {
		t.Errorf("renewed: %v", err)
	}
	for _, c := range server.Examine(t.Context(), cfg) {
		if c.Name == "keys" && c.Status != server.CheckOK {
			t.Errorf("doctor: %+v", c)
		}
	}
}

func TestKeysOfAStockHostWithoutItsKeyAreNotTouched(t *testing.T) {
	cfg := shop(t)
	put(t, filepath.Join(cfg.Dir, ".latchkey", "secrets"), "host.json", `{"masterKey":{"name":"master","value":"CfDJ8AAAA","encrypted":true},"functionKeys":[],"systemKeys":[]}`)
	_, err := server.OpenKeys(t.Context(), cfg)
	if problem.KindOf(err) != problem.Undecryptable || !strings.Contains(problem.NextOf(err), "AzureWebEncryptionKey") {
		t.Errorf("got %v; next: %s", err, problem.NextOf(err))
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, ".latchkey", "seal")); !os.IsNotExist(err) {
		t.Errorf("a keyset was made: %v", err)
	}
}

func TestAFunctionHiddenByAMoreOpenOneIsWarnedOf(t *testing.T) {
	cfg := shop(t)
	for name, text := range map[string]string{
		"All": `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "{*rest}"}]}`,
	} {
		put(t, filepath.Join(cfg.Dir, name), "function.json", text)
	}
	m, err := server.LoadModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if w := server.Warnings(m); len(w) != 1 || !strings.Contains(w[0], "Hello") || !strings.Contains(w[0], "All") {
		t.Errorf("got %q", w)
	}
}

func TestDoctorReadsASharedFolderAsAStartDoes(t *testing.T) {
	cfg := shop(t)
	dir := filepath.Join(t.TempDir(), "secrets")
	put(t, dir, "host.json", clearHost)
	cfg.Environ = append(cfg.Environ, "FUNCTIONS_SECRETS_PATH="+dir)
	for _, c := range server.Examine(t.Context(), cfg) {
		if c.Name == "keys" && c.Status != server.CheckOK {
			t.Errorf("%s: %s; %s", c.Status, c.Message, c.Next)
		}
	}
}
