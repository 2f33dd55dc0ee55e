package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// now is within the life of the test's authorities.
func now() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// authority makes a certificate file, limited to localhost unless change says
// otherwise.
func authority(t testing.TB, name string, change func(*x509.Certificate)) Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now().Add(-time.Hour), NotAfter: now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	path := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a, err := ReadAuthority(path)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const hostsBefore = "127.0.0.1\tlocalhost\n# by hand\n10.1.2.3 db.internal db\n"

// machine is a fake one with a store whose program makes the bundle, as the real
// one does, of what is in the folder.
func machine(t testing.TB) Machine {
	t.Helper()
	root := t.TempDir()
	m := Machine{Hosts: filepath.Join(root, "etc/hosts"), Stores: KnownStores(root), Root: true, Clock: clock.NewManual(now())}
	s := m.Stores[0]
	for _, dir := range []string{s.Folder, filepath.Dir(s.Bundle)} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.WriteFile(s.Bundle, []byte("# the system's\n"), 0o644))
	must(t, os.WriteFile(m.Hosts, []byte(hostsBefore), 0o640))
	m.Run = func(_ context.Context, argv []string) ([]byte, error) {
		if argv[0] != "update-ca-certificates" {
			return nil, fmt.Errorf("unexpected %q", argv)
		}
		bundle := []byte("# the system's\n")
		paths, err := filepath.Glob(filepath.Join(s.Folder, "*.crt"))
		for _, p := range paths {
			text, e := os.ReadFile(p)
			bundle, err = append(bundle, text...), errors.Join(err, e)
		}
		return nil, errors.Join(err, os.WriteFile(s.Bundle, bundle, 0o644))
	}
	return m
}

func entries(t testing.TB, apps ...string) []Entry {
	t.Helper()
	e, err := AppEntries(netip.MustParseAddr("127.0.0.1"), "localhost", apps)
	must(t, err)
	return e
}

func do(t testing.TB, p Plan, err error) {
	t.Helper()
	must(t, err)
	must(t, p.Do(t.Context()))
}

func hostsOf(t testing.TB, m Machine) string {
	t.Helper()
	text, err := os.ReadFile(m.Hosts)
	must(t, err)
	return string(text)
}

func TestInstallIsDoneOnceAndUndoneExactly(t *testing.T) {
	m, a := machine(t), authority(t, "Latchkey 1", nil)
	plan, err := m.Install(a, entries(t, "shop", "Mail"))
	if len(plan) != 2 || hostsOf(t, m) != hostsBefore {
		t.Fatalf("planning made %d changes, hosts are %q", len(plan), hostsOf(t, m))
	}
	do(t, plan, err)
	s, err := m.Status(a, entries(t, "shop", "mail"))
	must(t, err)
	if s.Store != Installed || len(s.Block) != 2 || len(s.Missing)+len(s.Elsewhere) != 0 {
		t.Errorf("after installing: %+v", s)
	}
	if want := hostsBefore + "# >>> latchkey " + a.ID() + markNote + "\n127.0.0.1 mail.localhost mail.scm.localhost\n" +
		"127.0.0.1 shop.localhost shop.scm.localhost\n# <<< latchkey " + a.ID() + "\n"; hostsOf(t, m) != want {
		t.Errorf("hosts are\n%s\nwant\n%s", hostsOf(t, m), want)
	}
	if plan, err = m.Install(a, entries(t, "mail", "shop")); err != nil || len(plan) != 0 {
		t.Errorf("installing again has %d changes, %v", len(plan), err)
	}
	plan, err = m.Uninstall(a)
	do(t, plan, err)
	s, err = m.Status(a, nil)
	must(t, err)
	if s.Store != Absent || hostsOf(t, m) != hostsBefore {
		t.Errorf("after uninstalling: %+v, hosts %q", s, hostsOf(t, m))
	}
	if plan, err = m.Uninstall(a); err != nil || len(plan) != 0 {
		t.Errorf("uninstalling again has %d changes, %v", len(plan), err)
	}
}

func TestInstalledFilesCanBeReadByAll(t *testing.T) {
	m, a := machine(t), authority(t, "Latchkey 1", nil)
	plan, err := m.Install(a, entries(t, "shop"))
	do(t, plan, err)
	for path, mode := range map[string]os.FileMode{m.Stores[0].anchor(a): 0o644, m.Hosts: 0o640} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), mode)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(m.Hosts), ".*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestHalfAnInstallIsRepaired(t *testing.T) {
	m, a := machine(t), authority(t, "Latchkey 1", nil)
	works := m.Run
	m.Run = func(context.Context, []string) ([]byte, error) {
		return []byte("no space left"), errors.New("exit status 1")
	}
	plan, err := m.Install(a, nil)
	must(t, err)
	if err := plan.Do(t.Context()); !errors.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a failing program: %v", err)
	}
	must(t, os.WriteFile(m.Stores[0].anchor(a), []byte("-----BEGIN CERT"), 0o644)) // torn
	if s, err := m.Status(a, nil); err != nil || s.Store != Stale {
		t.Errorf("state %q, %v", s.Store, err)
	}
	m.Run = works
	plan, err = m.Install(a, nil)
	do(t, plan, err)
	if s, err := m.Status(a, nil); err != nil || s.Store != Installed {
		t.Errorf("state %q, %v", s.Store, err)
	}
}

func TestAnotherCertificateInThePlaceIsLeftAlone(t *testing.T) {
	m, a, other := machine(t), authority(t, "Latchkey 1", nil), authority(t, "somebody's", nil)
	must(t, os.WriteFile(m.Stores[0].anchor(a), other.pem(), 0o644))
	if _, err := m.Install(a, nil); !errors.Is(err, problem.Conflict) {
		t.Errorf("installing over it: %v", err)
	}
	if plan, err := m.Uninstall(a); err != nil || len(plan) != 0 {
		t.Errorf("uninstalling it: %d changes, %v", len(plan), err)
	}
}

func TestOnlyLimitedAuthoritiesAreInstalled(t *testing.T) {
	m := machine(t)
	for name, change := range map[string]func(*x509.Certificate){
		"any name":     func(c *x509.Certificate) { c.PermittedDNSDomains = nil },
		"empty domain": func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"localhost", ""} },
		"any address":  func(c *x509.Certificate) { c.PermittedIPRanges = nil },
		"all addresses": func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(0, 0, 0, 0).To4(), Mask: net.CIDRMask(0, 32)}}
		},
		"wide loopback": func(c *x509.Certificate) {
			c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(1, 32)}}
		},
		"may be ignored": func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false },
		"no authority":   func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature },
	} {
		if _, err := m.Install(authority(t, "Latchkey", change), nil); !errors.Is(err, problem.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	expired := authority(t, "Latchkey", func(c *x509.Certificate) { c.NotAfter = now().Add(-time.Minute) })
	if _, err := m.Install(expired, nil); !errors.Is(err, problem.Invalid) {
		t.Errorf("expired: %v", err)
	}
}

func TestUninstallAllFindsInstallationsThatAreGone(t *testing.T) {
	m, a, b := machine(t), authority(t, "Latchkey 1", nil), authority(t, "Latchkey 2", nil)
	for _, a := range []Authority{a, b} {
		plan, err := m.Install(a, entries(t, "shop"))
		do(t, plan, err)
	}
	foreign := filepath.Join(m.Stores[0].Folder, "latchkey-office.crt")
	must(t, os.WriteFile(foreign, authority(t, "Office", nil).pem(), 0o644))
	plan, err := m.UninstallAll()
	do(t, plan, err)
	if _, err := os.Stat(foreign); err != nil || len(plan) != 4 || hostsOf(t, m) != hostsBefore {
		t.Errorf("%d changes, hosts %q, the other file: %v", len(plan), hostsOf(t, m), err)
	}
}

func TestUnknownSystemsAndMissingRightsAreSaid(t *testing.T) {
	m, a := machine(t), authority(t, "Latchkey 1", nil)
	m.Root = false
	plan, err := m.Install(a, nil)
	must(t, err)
	if err := m.Privileged(plan); !errors.Is(err, problem.Denied) {
		t.Errorf("without rights: %v", err)
	}
	if err := m.Privileged(nil); err != nil {
		t.Errorf("nothing to do needs no rights: %v", err)
	}
	m.Stores = KnownStores(t.TempDir())
	if _, err := m.Install(a, nil); !errors.Is(err, problem.Unsupported) || problem.NextOf(err) == "" {
		t.Errorf("unknown system: %v", err)
	}
	if s, err := m.Status(a, nil); err != nil || s.Store != NoStore {
		t.Errorf("status of an unknown system: %+v, %v", s, err)
	}
}

func TestStatusTellsWhichEntriesAreMissingOrWrong(t *testing.T) {
	m, a := machine(t), authority(t, "Latchkey 1", nil)
	must(t, os.WriteFile(m.Hosts, []byte("127.0.0.1 shop.localhost shop.scm.localhost # by hand\n10.0.0.9 MAIL.localhost\n"), 0o644))
	s, err := m.Status(a, entries(t, "shop", "mail", "new"))
	must(t, err)
	if len(s.Missing) != 2 || s.Missing[0].Names[0] != "mail.localhost" || s.Missing[1].Names[0] != "new.localhost" {
		t.Errorf("missing: %v", s.Missing)
	}
	if len(s.Elsewhere) != 1 || s.Elsewhere[0] != "mail.localhost is 10.0.0.9" {
		t.Errorf("elsewhere: %v", s.Elsewhere)
	}
}

func TestReadAuthorityRefusesWhatIsNone(t *testing.T) {
	dir, good := t.TempDir(), authority(t, "Latchkey 1", nil)
	if _, err := ReadAuthority(filepath.Join(dir, "nowhere")); !errors.Is(err, problem.NotFound) {
		t.Errorf("no file: %v", err)
	}
	two := append(good.pem(), good.pem()...)
	for name, text := range map[string][]byte{"empty": nil, "no certificate": []byte("x"), "two": two, "cut": good.pem()[:200]} {
		path := filepath.Join(dir, "ca.pem")
		must(t, os.WriteFile(path, text, 0o600))
		if _, err := ReadAuthority(path); !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRewriteKeepsWhatOthersWriteMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte("a\n"), 0o644))
	calls := 0
	err := rewrite(path, func(old []byte) ([]byte, error) {
		if calls++; calls == 1 {
			must(t, os.WriteFile(path, []byte("a\nb\n"), 0o644)) // another editor
		}
		return append(old[:len(old):len(old)], "ours\n"...), nil
	})
	text, _ := os.ReadFile(path)
	if err != nil || string(text) != "a\nb\nours\n" || calls != 2 {
		t.Errorf("%q after %d tries, %v", text, calls, err)
	}
	err = rewrite(path, func(old []byte) ([]byte, error) {
		calls++
		must(t, os.WriteFile(path, fmt.Appendf(nil, "%d\n", calls), 0o644))
		return append(old, "ours\n"...), nil
	})
	if text, _ := os.ReadFile(path); !errors.Is(err, problem.Conflict) || strings.Contains(string(text), "ours") {
		t.Errorf("an editor that does not stop: %v, %q", err, text)
	}
}

func TestRewriteFollowsALinkAndMakesAMissingFile(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "hosts"), filepath.Join(t.TempDir(), "real")
	must(t, os.WriteFile(target, []byte("a\n"), 0o604))
	must(t, os.Symlink(target, link))
	add := func(old []byte) ([]byte, error) { return append(old, "b\n"...), nil }
	must(t, rewrite(link, add))
	info, err := os.Lstat(link)
	must(t, err)
	text, _ := os.ReadFile(target)
	if info.Mode()&os.ModeSymlink == 0 || string(text) != "a\nb\n" {
		t.Errorf("the link is now %v, the file %q", info.Mode(), text)
	}
	fresh := filepath.Join(dir, "fresh")
	must(t, rewrite(fresh, add))
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a new file: %v, %v", info, err)
	}
}

func TestOverwriteKeepsTheFileItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte(strings.Repeat("long\n", 100)), 0o600))
	inode := func() uint64 {
		info, err := os.Stat(path)
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Ino
	}
	before := inode()
	if err := overwrite(path, []byte("something else"), []byte("new\n")); !errors.Is(err, errMoved) {
		t.Errorf("a file that was changed: %v", err)
	}
	must(t, overwrite(path, []byte(strings.Repeat("long\n", 100)), []byte("new\n")))
	if text, _ := os.ReadFile(path); string(text) != "new\n" || inode() != before {
		t.Errorf("%q, the same file %v", text, inode() == before)
	}
}

func TestAMountedFileIsWrittenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte("a\n"), 0o644))
	if err := syscall.Mount(path, path, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("this needs the right to mount: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(path, 0)) })
	if err := replace(path, []byte("a\n"), []byte("b\n")); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("replacing a mounted file: %v", err)
	}
	must(t, rewrite(path, func(old []byte) ([]byte, error) { return append(old, "b\n"...), nil }))
	if text, _ := os.ReadFile(path); string(text) != "a\nb\n" {
		t.Errorf("%q", text)
	}
}
