// Package etcdtest runs etcd inside a test's process: one member or three, on
// free ports of this machine, in a fresh folder, silent, with short elections. It
// is for tests only and does not know the store that uses it.
package etcdtest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Ports to choose from lie below those that systems give to outgoing connections,
// so that a stopped member finds its own free again.
const (
	firstPort = 20_000
	ports     = 12_000
)

// limit bounds how long a member may take to start; machines can be very busy.
const limit = time.Minute

// Cluster is a cluster whose members can be stopped and started again. Its
// methods are for one goroutine at a time.
type Cluster struct {
	t       *testing.T
	members []*member
}

type member struct {
	cfg    *embed.Config
	server *embed.Etcd // nil while stopped
}

// Start runs a single member until the test ends.
func Start(t *testing.T) (endpoints []string) {
	t.Helper()
	return New(t, 1).Endpoints()
}

// StartTLS runs a single member that talks TLS until the test ends, and gives
// settings that trust it.
func StartTLS(t *testing.T) (endpoints []string, trust *tls.Config) {
	t.Helper()
	c := start(t, 1, func(cfg *embed.Config) {
		cfg.ClientAutoTLS = true
		cfg.ListenClientUrls[0].Scheme, cfg.AdvertiseClientUrls[0].Scheme = "https", "https"
	})
	pem, err := os.ReadFile(filepath.Join(c.members[0].cfg.Dir, "fixtures", "client", "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !trust.RootCAs.AppendCertsFromPEM(pem) {
		t.Fatal("etcd's certificate cannot be read")
	}
	return c.Endpoints(), trust
}

// New runs a cluster until the test ends, usually of 1 or 3 members.
func New(t *testing.T, members int) *Cluster {
	t.Helper()
	return start(t, members, func(*embed.Config) {})
}

func start(t *testing.T, members int, change func(*embed.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for attempt := 1; ; attempt++ {
		c.members = configs(t.TempDir(), members)
		for _, m := range c.members {
			change(m.cfg)
		}
		err := c.startAll()
		if err == nil {
			break
		}
		c.close()
		if attempt == 5 {
			t.Fatalf("etcd does not start: %v", err)
		}
	}
	t.Cleanup(c.close)
	return c
}

// Endpoints gives the client URLs of all members, running or not.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.cfg.AdvertiseClientUrls[0].String())
	}
	return all
}

// Leader gives the number of the member that leads, -1 if none does.
func (c *Cluster) Leader() int {
	for i, m := range c.members {
		if m.server != nil && m.server.Server.Leader() == m.server.Server.MemberID() {
			return i
		}
	}
	return -1
}

// Stop stops a member as an operator does: it hands over what it leads.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	c.running(i).Close()
	c.members[i].server = nil
}

// Kill stops a member without a word to the others.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	m := c.running(i)
	m.Server.HardStop()
	m.Close()
	c.members[i].server = nil
}

// Restart starts a stopped member with what it has stored, at its old address,
// and waits until it serves.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	m := c.members[i]
	if m.server != nil {
		c.t.Fatalf("etcd member %d runs already", i)
	}
	deadline := time.Now().Add(limit)
	for {
		err := m.start()
		if err == nil {
			err = m.ready()
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("etcd member %d does not start again: %v", i, err)
		}
	}
}

func (c *Cluster) running(i int) *embed.Etcd {
	c.t.Helper()
	m := c.members[i]
	if m.server == nil {
		c.t.Fatalf("etcd member %d does not run", i)
	}
	return m.server
}

func (c *Cluster) startAll() error {
	for _, m := range c.members {
		if err := m.start(); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		if err := m.ready(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) close() {
	for _, m := range c.members {
		if m.server != nil {
			m.server.Close()
			m.server = nil
		}
	}
}

func (m *member) start() error {
	cfg := *m.cfg // what a server makes of its settings is not for the next one
	server, err := embed.StartEtcd(&cfg)
	m.server = server
	if err != nil {
		m.server = nil
	}
	return err
}

func (m *member) ready() error {
	select {
	case <-m.server.Server.ReadyNotify():
		return nil
	case err := <-m.server.Err():
		return err
	case <-time.After(limit):
		return fmt.Errorf("not ready after %s", limit)
	}
}

func configs(dir string, n int) []*member {
	var all []*member
	var names []string
	for i := range n {
		cfg := embed.NewConfig()
		cfg.Name = fmt.Sprint("member", i)
		cfg.Dir = filepath.Join(dir, cfg.Name)
		client, peer := freeURL(), freeURL()
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		cfg.TickMs, cfg.ElectionMs = 10, 100
		if n > 1 {
			cfg.TickMs, cfg.ElectionMs = 50, 500 // a busy machine would elect all the time
		}
		cfg.UnsafeNoFsync = true // nobody cuts the power of a test
		cfg.BcryptCost = 4       // nobody guesses its passwords
		cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		names = append(names, cfg.Name+"="+peer.String())
		all = append(all, &member{cfg: cfg})
	}
	for _, m := range all {
		m.cfg.InitialCluster = strings.Join(names, ",")
	}
	return all
}

// freeURL gives the URL of a port that is free right now.
func freeURL() url.URL {
	for {
		host := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(ports))
		listener, err := net.Listen("tcp", host)
		if err != nil {
			continue
		}
		_ = listener.Close()
		return url.URL{Scheme: "http", Host: host}
	}
}
