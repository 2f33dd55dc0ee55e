package account_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// places has a login, a default data folder and another one, each with a
// credential of a name of its own, and an environment.
func places(t *testing.T, env map[string]string) (account.Places, string) {
	t.Helper()
	dir := t.TempDir()
	if env == nil {
		env = map[string]string{}
	}
	if env["XDG_CONFIG_HOME"] == "" {
		env["XDG_CONFIG_HOME"] = filepath.Join(dir, "config")
	}
	p := account.Places{DefaultDataDir: filepath.Join(dir, "default"), Getenv: func(name string) string { return env[name] }}
	for _, d := range []string{"default", "other"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, d, "owner.json"), d)
	}
	if _, err := p.Save(credential("login")); err != nil {
		t.Fatal(err)
	}
	return p, dir
}

func credential(id string) armclient.Credential {
	return armclient.Credential{Endpoint: "https://localhost:7443", TenantID: "t", ClientID: id, ClientSecret: "s"}
}

func write(t *testing.T, path, id string) {
	t.Helper()
	if err := credential(id).Write(path); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstPlaceWithACredentialCounts(t *testing.T) {
	environment := map[string]string{account.VarID: "env", account.VarSecret: "s", account.VarTenant: "t"}
	p, dir := places(t, environment)
	want := func(id, from string) {
		t.Helper()
		found, err := p.Find()
		if err != nil || found.ClientID != id || found.From != from {
			t.Errorf("found %q from %q, %v; want %q from %q", found.ClientID, found.From, err, id, from)
		}
	}
	p.DataDir = filepath.Join(dir, "other")
	want("other", filepath.Join(dir, "other", "owner.json"))
	p.DataDir = ""
	want("env", "the environment")
	if found, _ := p.Find(); found.Endpoint != account.DefaultEndpoint {
		t.Errorf("endpoint %q", found.Endpoint)
	}
	delete(environment, account.VarSecret)
	if _, err := p.Find(); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), account.VarSecret) {
		t.Errorf("half a credential: %v", err)
	}
	delete(environment, account.VarID)
	want("login", p.LoginFile())
	if was, err := p.Forget(); !was || err != nil {
		t.Errorf("forgotten: %v, %v", was, err)
	}
	want("default", filepath.Join(dir, "default", "owner.json"))
	p.DefaultDataDir = ""
	if _, err := p.Find(); !errors.Is(err, problem.Unauthenticated) || problem.NextOf(err) == "" {
		t.Errorf("none: %v", err)
	}
	p.DataDir = dir
	if _, err := p.Find(); !errors.Is(err, problem.NotFound) || problem.NextOf(err) == "" {
		t.Errorf("none in the folder: %v", err)
	}
}

func TestADamagedFileIsNotPassedOver(t *testing.T) {
	p, _ := places(t, nil)
	if err := os.WriteFile(p.LoginFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := p.Find(); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("found %q, %v", found.ClientID, err)
	}
}

func TestLoginsAreForTheirOwnerOnly(t *testing.T) {
	p, dir := places(t, nil)
	ca, err := p.KeepAuthority([]byte("certificate"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{p.LoginFile(), ca} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "config", "latchkey")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	for _, want := range []bool{true, false} {
		if was, err := p.Forget(); was != want || err != nil {
			t.Errorf("forgotten: %v, %v; want %v", was, err, want)
		}
	}
	if _, err := os.Stat(ca); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the certificate is still there: %v", err)
	}
}

func TestTheLoginFileIsWhereOthersKeepTheirs(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/latchkey/login.json"},
		{map[string]string{"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/latchkey/login.json"},
		{map[string]string{"HOME": "/h"}, "/h/.config/latchkey/login.json"},
		{nil, ""},
	} {
		p := account.Places{Getenv: func(name string) string { return tt.env[name] }}
		if got := p.LoginFile(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.env, got, tt.want)
		}
	}
	none := account.Places{Getenv: func(string) string { return "" }}
	if _, err := none.Save(credential("x")); !errors.Is(err, problem.Invalid) {
		t.Errorf("saved nowhere: %v", err)
	}
}

// serve runs a server over TLS and gives its address by a host name.
func serve(t *testing.T, config *tls.Config, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that end handshakes are what is tested
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
}

func authority(t *testing.T) *localca.Authority {
	t.Helper()
	text, err := localca.Generate("Latchkey test", []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := localca.Open(text, clock.Real{}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestAnUnknownAuthorityIsForAPersonToJudge(t *testing.T) {
	ca := authority(t)
	url := serve(t, ca.TLS(), func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	a, err := account.FindAuthority(t.Context(), url)
	if err != nil || a.Trusted || a.Fingerprint != ca.Fingerprint() || string(a.PEM) != string(ca.PEM()) || a.Name != "Latchkey test" {
		t.Errorf("%q, trusted %v, %q, %v", a.Name, a.Trusted, a.Fingerprint, err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, a.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := account.FingerprintOf(file); err != nil || got != ca.Fingerprint() {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhoCannotBeAnAuthorityIsNotOffered(t *testing.T) {
	ca := authority(t)
	wrong, err := ca.For("another.localhost")
	if err != nil {
		t.Fatal(err)
	}
	alone, err := ca.For("localhost")
	if err != nil {
		t.Fatal(err)
	}
	bare := &tls.Certificate{Certificate: alone.Certificate[:1], PrivateKey: alone.PrivateKey}
	others := authority(t)
	forged := &tls.Certificate{Certificate: [][]byte{alone.Certificate[0], der(t, others.PEM())}, PrivateKey: alone.PrivateKey}
	for name, cert := range map[string]*tls.Certificate{"another host's": wrong, "without its authority": bare, "with another authority": forged} {
		url := serve(t, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }}, nil)
		if a, err := account.FindAuthority(t.Context(), url); !errors.Is(err, problem.Denied) {
			t.Errorf("%s: offered %q, %v", name, a.Name, err)
		}
	}
	for _, endpoint := range []string{"http://localhost", "https://localhost/path", "", "https://", "localhost:7443"} {
		if _, err := account.FindAuthority(t.Context(), endpoint); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

func der(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no certificate")
	}
	return block.Bytes
}

func TestFingerprintsAreComparedAsPeopleCopyThem(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"aabb01", "AA:BB:01", true}, {"aabb01", " sha256:aabb01\n", true}, {"aabb01", "SHA-256:aa bb 01", true},
		{"aabb01", "aabb02", false}, {"aabb01", "aabb", false}, {"", "", false}, {"aabb01", "", false},
	} {
		if got := account.SameFingerprint(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %v", tt.a, tt.b, got)
		}
	}
}

func TestTheEndpointSaysWhichTenantItServes(t *testing.T) {
	ca := authority(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for challenge, want := range map[string]string{
		`Bearer authorization_uri="https://localhost:7443/0c1d", error="invalid_token"`: "0c1d",
		`Bearer realm="x", authorization_uri="https://localhost/0c1d/"`:                 "0c1d",
		`Bearer authorization_uri="https://localhost/a/b"`:                              "",
		`Bearer authorization_uri="https://localhost/` + strings.Repeat("x", 200) + `"`: "",
		`Bearer authorization_uri="::"`:                                                 "", `Basic`: "", "": "",
	} {
		url := serve(t, ca.TLS(), func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("a credential was sent")
			}
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		})
		got, err := account.FindTenant(t.Context(), url, file)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, problem.Unavailable) {
			t.Errorf("%q: %q, %v; want %q", challenge, got, err, want)
		}
		if _, err := account.FindTenant(t.Context(), url, ""); !errors.Is(err, problem.Unavailable) {
			t.Errorf("an authority that is not trusted: %v", err)
		}
	}
}
