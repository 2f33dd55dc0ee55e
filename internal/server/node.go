package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funchost"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/funchost/adminapi"
	"github.com/latchkey/latchkey/internal/funchost/webhooks"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/custom"
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
	place    keyPlace
	instance *instance.Instance
	admin    *adminapi.API
	listener net.Listener
	ops      net.Listener // nil when there is none
	handler  http.Handler // the app's front
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
		n.openLogs, n.openSettings, n.openPorts, n.openKeys, n.openInstance, n.openFront,
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
	var level slog.Level
	if n.cfg.LogLevel != "" {
		if err := level.UnmarshalText([]byte(n.cfg.LogLevel)); err != nil {
			return problem.New(problem.Invalid, "unknown log level "+strconv.Quote(n.cfg.LogLevel)).
				WithNext("use debug, info, warn or error")
		}
	}
	n.log = telemetry.NewLogger(n.cfg.Log, n.cfg.LogFormat, level)
	n.metrics = telemetry.NewMetrics(n.cfg.Version)
	if level <= slog.LevelInfo {
		n.requests = telemetry.NewRequestLog(n.cfg.Log, n.cfg.LogFormat, n.cfg.Clock)
		n.metrics.CountDrops(n.requests.Dropped)
		n.onClose(n.closeRequests)
	}
	return nil
}

func (n *Node) closeRequests() {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Grace)
	defer cancel()
	_ = n.requests.Close(ctx)
}

func (n *Node) openSettings(context.Context) error {
	s, local, _, warnings := readSettings(n.cfg.Dir, n.cfg.Environ)
	for _, w := range warnings {
		n.log.Warn(w)
	}
	n.settings, n.app = s, appName(n.cfg.Dir, s)
	n.appStats = n.metrics.App(n.app)
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
	store, place, err := openStore(ctx, n.cfg, n.settings)
	if err != nil {
		return err
	}
	n.place = place
	for _, w := range store.Warnings() {
		n.log.Warn("look at the key files: " + w)
	}
	n.keys, err = newRing(store, n.settings, n.cfg.Clock, n.log, n.onKeyEvent)
	if err != nil {
		return err
	}
	n.onClose(n.keys.Close)
	n.health.Set("keys", func(context.Context) error { return n.keyHealth() })
	if err := n.keys.Start(ctx); err != nil {
		n.log.Error("the access keys cannot be read; no key is accepted until they can", "reason", err, "next", problem.NextOf(err))
	}
	return nil
}

func (n *Node) onKeyEvent(e keyring.Event) {
	if e.Type == keyring.HealthChanged {
		n.appStats.SetKeystore(telemetry.KeystoreState(e.Health.State))
	}
}

func (n *Node) keyHealth() error {
	h := n.keys.Health()
	if h.State == keyring.Unavailable {
		return problem.New(problem.Unavailable, h.Reason).WithNext(h.Next)
	}
	return nil
}

func (n *Node) openInstance(context.Context) error {
	n.instance = instance.New(instance.Config{
		Root: n.cfg.Dir, Clock: n.cfg.Clock, Log: n.log, Watch: n.cfg.Watch, StopTimeout: n.cfg.Grace,
		Load:      func() (*instance.Model, error) { return loadModel(n.cfg) },
		NewWorker: n.newWorker,
		OnRestart: n.appStats.WorkerRestarted,
		OnModel:   n.reportFaults,
	})
	n.health.Set("app", func(context.Context) error {
		if st := n.instance.Status(); st.State != instance.Running {
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

func (n *Node) newWorker(m *instance.Model) (worker.Worker, error) {
	if m.App.Host.CustomHandler == nil {
		return nil, problem.New(problem.Unsupported, "host.json has no customHandler").
			WithNext("this version runs custom handlers; language workers are planned")
	}
	return custom.New(custom.Config{
		App: m.App, Env: workerEnv(m.Settings, n.cfg.Dir, n.Addr()), HostVersion: adminapi.HostVersion,
		Logs: n.logWorker, Clock: n.cfg.Clock,
	}), nil
}

func (n *Node) logWorker(l worker.LogLine) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level))
	attrs := []any{"source", l.Source}
	if l.Function != "" {
		attrs = append(attrs, "function", l.Function, "invocation", l.InvocationID)
	}
	n.log.Log(context.Background(), level, l.Message, attrs...)
}

func (n *Node) openFront(context.Context) error {
	machine, _ := os.Hostname()
	gate := &access.Gate{
		Keys: n.keys, TrustProxy: n.settings.isTrue("WEBSITE_AUTH_ENABLED"), Isolation: isolation(n.settings),
		Tokens: siteTokens(n.settings, n.cfg.Clock),
	}
	n.admin = adminapi.New(adminapi.Config{
		Gate: gate, Keys: n.keys, Instance: n.instance, Log: n.log, Clock: n.cfg.Clock,
		HostID: hostID(n.cfg.Dir, machine, n.settings), Version: n.cfg.Version, SecretsPath: n.place.dir,
		Computer: machine, InstanceID: n.settings.get("WEBSITE_INSTANCE_ID"),
		PlainPing: n.settings.get("WEBSITE_FUNCTIONS_HEALTH_PING_ENABLED") == "0",
	})
	n.onClose(n.admin.Close)
	n.Webhooks = webhooks.New(gate, n.instance)
	limit, err := bodyLimit(n.settings)
	if err != nil {
		return err
	}
	front := funchost.New(funchost.Config{
		App: n.app, Instance: n.instance, Gate: gate, Metrics: n.appStats, Requests: n.requests, Log: n.log,
		Clock: n.cfg.Clock, Admin: n.admin, Runtime: n.Webhooks,
		HomePage: !n.settings.isTrue("AzureWebJobsDisableHomepage"), MaxBody: limit,
	})
	n.handler, err = web.CORS(n.cfg.CORS, n.cors, front)
	return err
}

// trustFrontEnd must be set besides WEBSITE_INSTANCE_ID for the platform's
// headers to be trusted. On App Service nobody else can reach the host; here a
// request without a header would be let in without a key.
const trustFrontEnd = "LATCHKEY_TRUST_FRONT_END"

func isolation(s settings) access.Isolation {
	i := access.Isolation{
		Enabled:    s.get("FUNCTIONS_ADMIN_ISOLATION_ENABLED") == "1",
		AppService: s.get("WEBSITE_INSTANCE_ID") != "" && s.isTrue(trustFrontEnd),
	}
	if list, given := s.lookup("InternalAuthApisAllowList"); given {
		i.Allowed = strings.Split(list, "|")
	}
	return i
}

// siteTokens accepts the tokens the platform signs for the app; it is nil unless
// the settings have its encryption key and its name.
func siteTokens(s settings, c clock.Clock) *access.Tokens {
	return access.NewTokens(
		[]string{s.get("AzureWebEncryptionKey"), s.get("MACHINEKEY_DecryptionKey")},
		[]string{s.get("WEBSITE_SITE_NAME"), s.get("WEBSITE_DEPLOYMENT_ID")}, c)
}

// defaultBody is the largest request body unless the settings say otherwise.
const defaultBody = 100 << 20

func bodyLimit(s settings) (int64, error) {
	const setting = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
	text := s.get(setting)
	if text == "" {
		return defaultBody, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, problem.New(problem.Invalid, fmt.Sprintf("setting %s is %q, not a number of bytes", setting, text))
	}
	return n, nil
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
func (n *Node) Instance() *instance.Instance { return n.instance }

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
