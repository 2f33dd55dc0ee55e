package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/funchost/webhooks"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/filestore"
	"github.com/latchkey/latchkey/internal/web"
)

// Node is one app, ready to run.
type Node struct {
	cfg      Config
	settings settings
	app      string
	log      *slog.Logger
	requests *telemetry.RequestLog
	metrics  *telemetry.Metrics
	appStats *telemetry.AppMetrics
	health   telemetry.Health

	keys     *keyring.Ring
	declared declaredKeys
	place    keyPlace
	hosted   *hosted.App
	listener net.Listener
	ops      net.Listener // nil when there is none
	cors     bool         // with credentials
	Webhooks *webhooks.Registry

	closers []func() // run last to first
}

// Open builds a node: ports are taken and the key store is opened, but nothing
// is served before Run. On error everything opened is closed again.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	for _, step := range []func(context.Context) error{
		n.openLogs, n.openSettings, n.openPorts, n.openKeys, n.openDeclared, n.openApp,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) onClose(f func()) { n.closers = append(n.closers, f) }

// Close gives back what Open took, last things first. It does nothing the second
// time.
func (n *Node) Close() {
	for i := len(n.closers) - 1; i >= 0; i-- {
		n.closers[i]()
	}
	n.closers = nil
}

func (n *Node) openLogs(context.Context) error {
	t, err := hosted.OpenTelemetry(n.cfg.Log, n.cfg.LogFormat, n.cfg.LogLevel, n.cfg.Version, n.cfg.Clock)
	if err != nil {
		return err
	}
	n.log, n.metrics, n.requests = t.Log, t.Metrics, t.Requests
	n.onClose(func() { t.Close(n.cfg.Grace) })
	return nil
}

func (n *Node) openSettings(context.Context) error {
	s, local, _, warnings := readSettings(n.cfg.Dir, n.cfg.Environ)
	for _, w := range warnings {
		n.log.Warn(w)
	}
	n.settings, n.app = s, appName(n.cfg.Dir, s)
	n.appStats = n.metrics.App(n.app)
	n.warnOfReferences()
	if local != nil && n.cfg.Port < 0 && local.Port > 0 {
		n.cfg.Port = local.Port
	}
	if local != nil && n.cfg.Host == "" {
		n.cfg.Host = local.Address
	}
	if local != nil && n.cfg.CORS == nil {
		n.cfg.CORS, n.cors = local.CORS, local.CORSCredentials
	}
	if n.cfg.Port < 0 {
		n.cfg.Port = DefaultPort
	}
	if n.cfg.Host == "" {
		n.cfg.Host = "127.0.0.1"
	}
	return nil
}

func (n *Node) openPorts(ctx context.Context) (err error) {
	if n.listener, err = web.Listen(ctx, n.cfg.Host, n.cfg.Port); err != nil {
		return err
	}
	n.onClose(func() { _ = n.listener.Close() })
	if n.cfg.OpsAddress == "" {
		return nil
	}
	if n.ops, err = n.listenOps(ctx); err != nil {
		return err
	}
	n.onClose(func() { _ = n.ops.Close() })
	return nil
}

func (n *Node) listenOps(ctx context.Context) (net.Listener, error) {
	host, text, err := net.SplitHostPort(n.cfg.OpsAddress)
	port, convErr := strconv.Atoi(text)
	if err != nil || convErr != nil {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("metrics address %q is not host:port", n.cfg.OpsAddress))
	}
	l, err := web.Listen(ctx, host, port)
	if err != nil && n.cfg.OpsMayMove && errors.Is(err, problem.Unavailable) {
		return web.Listen(ctx, host, 0)
	}
	if err != nil {
		return nil, problem.Wrap(problem.KindOf(err), "metrics and health cannot be served", err).
			WithNext("choose another address with --metrics-address, or none with an empty one")
	}
	return l, nil
}

func (n *Node) openKeys(ctx context.Context) error {
	store, place, err := openStore(ctx, n.cfg, n.settings, n.log)
	if err != nil {
		return err
	}
	n.place = place
	for _, w := range warningsOf(store) {
		n.log.Warn("look at the key files: " + w)
	}
	n.keys, err = newRing(n.cfg, store, n.settings, n.log, n.onKeyEvent)
	if err != nil {
		return err
	}
	n.onClose(n.keys.Close)
	n.health.Set("keys", func(context.Context) error { return n.keyHealth() })
	if err := n.keys.Start(ctx); err != nil {
		n.log.Error("the access keys cannot be read; no key is accepted until they can", "reason", err, "next", problem.NextOf(err))
	}
	n.noteRan(ctx)
	n.onClose(func() { n.noteRan(context.WithoutCancel(ctx)) }) // keys may have been made since
	return nil
}

func (n *Node) onKeyEvent(e keyring.Event) {
	if e.Type == keyring.HealthChanged {
		n.appStats.SetKeystore(telemetry.KeystoreState(e.Health.State))
	}
}

func (n *Node) keyHealth() error {
	h := n.keys.Health()
	err := problem.New(problem.Unavailable, h.Reason).WithNext(h.Next)
	switch h.State {
	case keyring.OK:
		return nil
	case keyring.Degraded:
		return telemetry.Degraded(err)
	}
	return err
}

func (n *Node) openApp(context.Context) (err error) {
	machine, _ := os.Hostname()
	n.hosted, err = hosted.New(hosted.Config{
		Name: n.app, HostID: hostID(n.cfg.Dir, machine, n.settings), Dir: n.cfg.Dir, Settings: n.settings,
		Load: func() (*instance.Model, error) { return loadModel(n.cfg) },
		Keys: n.keys, SecretsPath: n.place.dir, Hostname: n.Addr(), Environment: "Development",
		CORS: n.cfg.CORS, CORSCredentials: n.cors, Watch: n.cfg.Watch, Only: n.cfg.Functions, Grace: n.cfg.Grace, Version: n.cfg.Version,
		Clock: n.cfg.Clock, Log: n.log, Requests: n.requests, Stats: n.appStats, OnModel: n.modelLoaded,
		Leases: new(trigger.LocalLeases), Memory: trigger.Folder(filepath.Join(n.cfg.DataDir, "triggers")),
		Orchestrations: filestore.New(filepath.Join(n.cfg.DataDir, "durable")),
	})
	if err != nil {
		return err
	}
	n.onClose(n.hosted.Close)
	n.Webhooks = n.hosted.Webhooks()
	n.health.Set("app", func(context.Context) error {
		if st := n.Instance().Status(); st.State != instance.Running {
			return problem.New(problem.Unavailable, "the app is in state "+string(st.State)+": "+strings.Join(st.Errors, "; "))
		}
		return nil
	})
	return nil
}

// reportFaults logs what is wrong with single functions; the app's own faults
// are the instance's to report.
func (n *Node) reportFaults(m *instance.Model) {
	for i := range m.Functions {
		for _, f := range m.Functions[i].Faults {
			n.log.Error("a function is left out", "function", m.Functions[i].Name, "reason", f.String())
		}
	}
	for _, w := range Warnings(m) {
		n.log.Warn(w)
	}
}

// Addr gives the address functions are served at, as host:port.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// OpsAddr gives the address of metrics and health; "" when there is none.
func (n *Node) OpsAddr() string {
	if n.ops == nil {
		return ""
	}
	return n.ops.Addr().String()
}

// Keys gives the app's keyring.
func (n *Node) Keys() *keyring.Ring { return n.keys }

// Instance gives the running app.
func (n *Node) Instance() *instance.Instance { return n.hosted.Instance() }

// App gives the app's name.
func (n *Node) App() string { return n.app }

// BaseURL gives the URL of the app for people on this machine: an address that
// stands for all of the machine's is shown as localhost.
func (n *Node) BaseURL() string { return "http://" + net.JoinHostPort(n.shownHost(), n.port()) }

func (n *Node) shownHost() string {
	tcp, ok := n.listener.Addr().(*net.TCPAddr)
	if ok && (tcp.IP.IsUnspecified() || tcp.IP.IsLoopback()) {
		return "localhost"
	}
	return n.cfg.Host
}

func (n *Node) port() string {
	_, port, _ := net.SplitHostPort(n.Addr())
	return port
}

// Loopback reports whether only this machine can reach the app.
func (n *Node) Loopback() bool {
	tcp, ok := n.listener.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
