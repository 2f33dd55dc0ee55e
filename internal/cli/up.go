package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// upFlags are the flags of up; each stands above the file and the environment.
type upFlags struct {
	file, dataDir, node, domain    string
	functions, management, metrics string
	containers                     string
	logFormat, logLevel            string
	newOwner, drill                bool
}

func newUp(env *Env) *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run the platform: many apps, the management API, a token service",
		Long: "Runs a node of the platform until it is interrupted. Apps are created and\n" +
			"deployed through the management API: with latchkey app, Terraform, az or an SDK.\n" +
			"Settings: flags, then LATCHKEY_* variables, then latchkey.yaml.",
		Example: "  latchkey up\n  latchkey up --data-dir /var/lib/latchkey --file /etc/latchkey.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), env, f, cmd.Flags().Changed("metrics-address"))
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.file, "file", "f", "", "configuration file (default: latchkey.yaml, if there is one)")
	fl.StringVar(&f.dataDir, "data-dir", "", "folder for state, keys and packages (default: $XDG_DATA_HOME/latchkey)")
	fl.StringVar(&f.node, "node", "", "name of this node (default: the machine's)")
	fl.StringVar(&f.domain, "domain", "", "apps are at <app>.<domain> (default localhost)")
	fl.StringVar(&f.functions, "functions-address", "", "host:port of the apps (default "+platform.DefaultFunctions+")")
	fl.StringVar(&f.management, "management-address", "", "host:port of the management API (default "+platform.DefaultManagement+")")
	fl.StringVar(&f.metrics, "metrics-address", "", "host:port of /metrics, /healthz and /readyz; empty is none (default "+platform.DefaultMetrics+")")
	fl.StringVar(&f.containers, "containers", "", "engine of container apps: docker, kubernetes, process, none or auto (default auto)")
	fl.StringVar(&f.logFormat, "log-format", "", "form of log lines: text or json (default text)")
	fl.StringVar(&f.logLevel, "log-level", "", "least level to log: debug, info, warn or error (default info)")
	fl.BoolVar(&f.drill, "drill", false, "let the owner move the clock and make parts fail: latchkey clock, latchkey drill")
	fl.BoolVar(&f.newOwner, "new-owner-credential", false, "write another credential of the owner to owner.json in the data folder")
	return c
}

// first gives the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// config puts flags above file and environment.
func (f upFlags) config(env *Env, metricsGiven bool) (platform.Config, error) {
	file, err := settings.Load(f.file, env.Environ)
	if err != nil {
		return platform.Config{}, err
	}
	format, err := telemetry.ParseFormat(first(f.logFormat, file.Log.Format, "text"))
	if err != nil {
		return platform.Config{}, usageError{err}
	}
	etcd, err := etcdConfig(file.State.Etcd)
	if err != nil {
		return platform.Config{}, err
	}
	dataDir := first(f.dataDir, file.DataDir)
	if dataDir == "" {
		dataDir = defaultDataDir(env)
	}
	metrics := f.metrics
	if !metricsGiven {
		metrics = first(file.Metrics.Address, platform.DefaultMetrics)
	}
	containers := first(f.containers, file.Containers.Engine, platform.EngineAuto)
	if !slices.Contains(settings.Engines, containers) {
		return platform.Config{}, usageError{fmt.Errorf("--containers: %q is none of %s", containers, strings.Join(settings.Engines, ", "))}
	}
	if containers == platform.EngineKubernetes {
		if err := file.Containers.Kubernetes.Check(); err != nil {
			return platform.Config{}, err
		}
	}
	references, err := referencesConfig(file.References)
	if err != nil {
		return platform.Config{}, err
	}
	if file.KeysFile != "" {
		if _, err := settings.LoadKeysFile(file.KeysFile, true); err != nil {
			return platform.Config{}, err
		}
	}
	issuer, err := portalIssuer(file.Portal.OIDC)
	if err != nil {
		return platform.Config{}, err
	}
	return platform.Config{
		DataDir: dataDir, Node: first(f.node, file.Node), Domain: first(f.domain, file.Domain),
		Functions: first(f.functions, file.Functions.Address), Management: first(f.management, file.Management.Address),
		Metrics: metrics, State: platform.StateConfig{Kind: file.State.Kind, Path: file.State.Path, Etcd: etcd},
		KEK: env.Get("LATCHKEY_KEK"), Environ: env.Environ, NewOwnerCredential: f.newOwner, MaxPackage: file.Packages.MaxBytes, MaxBody: file.Apps.MaxBodyBytes,
		Orchestrations: platform.OrchestrationsConfig{Most: file.Apps.MaxOrchestrations, Bytes: file.Apps.MaxOrchestrationBytes},
		CertFile:       file.Management.CertFile, KeyFile: file.Management.KeyFile, IssuerNetworks: prefixes(file.Federation.Networks),
		AppNetworks:    prefixes(file.Apps.Networks),
		Workers:        platform.WorkersConfig{Isolation: file.Workers.Isolation, FirstID: uint32(file.Workers.FirstID)},
		Containers:     platform.ContainersConfig{Engine: containers, Host: file.Containers.Host, ProcessAsRoot: file.Containers.ProcessAsRoot, QueueServices: file.Containers.QueueServices, Kubernetes: platform.KubernetesConfig(file.Containers.Kubernetes)},
		TokenAlgorithm: file.Tokens.Algorithm, TokenLifetime: duration(file.Identity.TokenLifetime), Upstream: mappings(file.Identity.Upstream),
		Keys: file.Keys, KeysFile: file.KeysFile,
		AlertRetiredKeys: file.Alerts.RetiredKeys,
		Portal:           platform.PortalConfig{Off: file.Portal.Disabled, Issuer: issuer},
		References:       references, StoppedTokenExpiry: file.Quirks.StoppedSiteTokenExpiry, Drill: f.drill,
		Version: version, Log: env.Stderr, LogFormat: format, LogLevel: first(f.logLevel, file.Log.Level),
	}, nil
}

// prefixes reads networks that settings.Load has checked.
func prefixes(texts []string) (networks []netip.Prefix) {
	for _, n := range texts {
		networks = append(networks, netip.MustParsePrefix(n))
	}
	return networks
}

// duration reads a duration that settings.Load has checked; none is 0.
func duration(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}

func mappings(list []settings.Upstream) []platform.Upstream {
	var all []platform.Upstream
	for _, u := range list {
		all = append(all, platform.Upstream{
			Identity: u.Identity, Mode: platform.UpstreamMode(u.Mode), TenantID: u.TenantID, ClientID: u.ClientID, SecretFile: u.SecretFile,
			CertificateFile: u.CertificateFile, TokenFile: u.TokenFile, AuthorityHost: u.AuthorityHost, Resources: u.Resources,
			DisableInstanceDiscovery: u.AuthorityHost != "" && u.AuthorityHost != platform.PublicAuthority,
		})
	}
	return all
}

func referencesConfig(r settings.References) (c platform.ReferencesConfig, err error) {
	c = platform.ReferencesConfig{Interval: duration(r.Interval), Refuse: r.OnFailure == "refuse", RealVaults: r.RealVaults, Webhook: r.Webhook}
	if r.WebhookSecretFile == "" {
		return c, nil
	}
	text, err := os.ReadFile(r.WebhookSecretFile)
	if err != nil {
		return c, problem.Wrap(problem.Invalid, "references.webhookSecretFile cannot be read", err)
	}
	if c.WebhookSecret = bytes.TrimRight(text, "\r\n"); len(c.WebhookSecret) == 0 {
		return c, problem.New(problem.Invalid, "references.webhookSecretFile "+r.WebhookSecretFile+" is empty")
	}
	return c, nil
}

// Get gives a variable of the environment.
func (e *Env) Get(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if n, value, ok := strings.Cut(e.Environ[i], "="); ok && n == name {
			return value
		}
	}
	return ""
}

// defaultDataDir is where up keeps its data unless it is told otherwise.
func defaultDataDir(env *Env) string {
	if dir := env.Get("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "latchkey")
	}
	if home := env.Get("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "latchkey")
	}
	return ""
}

func etcdConfig(e settings.Etcd) (c platform.EtcdConfig, err error) {
	c = platform.EtcdConfig{Endpoints: e.Endpoints, Prefix: e.Prefix, Username: e.Username}
	if e.PasswordFile != "" {
		text, err := os.ReadFile(e.PasswordFile)
		if err != nil {
			return c, problem.Wrap(problem.Invalid, "state.etcd.passwordFile cannot be read", err)
		}
		c.Password = strings.TrimRight(string(text), "\r\n")
	}
	if e.CAFile == "" && e.CertFile == "" {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		text, err := os.ReadFile(e.CAFile)
		if err != nil {
			return c, problem.Wrap(problem.Invalid, "state.etcd.caFile cannot be read", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(text) {
			return c, problem.New(problem.Invalid, "state.etcd.caFile "+e.CAFile+" has no certificate")
		}
	}
	if e.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return c, problem.Wrap(problem.Invalid, "state.etcd.certFile and keyFile cannot be used", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func up(ctx context.Context, env *Env, f upFlags, metricsGiven bool) error {
	cfg, err := f.config(env, metricsGiven)
	if err != nil {
		return err
	}
	server.TuneMemory()
	server.HideMemory()
	node, err := platform.Open(ctx, cfg)
	if err != nil {
		return explainStart(err)
	}
	defer node.Close()
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	if err := node.Ready(ctx); err == nil {
		announceNode(ctx, env, node, cfg)
	}
	return <-ended
}

// announced is what up prints for programs, with --log-format json.
type announced struct {
	Management string `json:"management"`
	Functions  string `json:"functions"`
	Metrics    string `json:"metrics,omitempty"`
	DataDir    string `json:"dataDir"`
	CAFile     string `json:"caFile"`
}

func announceNode(ctx context.Context, env *Env, node *platform.Node, cfg platform.Config) {
	a := announced{
		Management: node.ManagementURL(), Functions: node.FunctionsAddr(), Metrics: node.OpsAddr(),
		DataDir: cfg.DataDir, CAFile: filepath.Join(cfg.DataDir, platform.CAFile),
	}
	if cfg.LogFormat == telemetry.JSON {
		_ = json.NewEncoder(env.Stdout).Encode(a)
		return
	}
	fmt.Fprintf(env.Stdout, "Latchkey %s is up\n  management  %s\n  apps        %s\n", version, a.Management, node.AppsURL())
	if a.Metrics != "" {
		fmt.Fprintf(env.Stdout, "  metrics     http://%s/metrics\n", a.Metrics)
	}
	if link := portalLink(ctx, env, node); link != "" {
		fmt.Fprintf(env.Stdout, "  portal      %s\n", link)
	}
	fmt.Fprintf(env.Stdout, "  data        %s\n\nNext: latchkey trust (once per machine), then latchkey app create NAME\n", a.DataDir)
}
