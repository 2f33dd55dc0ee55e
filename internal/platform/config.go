package platform

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity/entra"
	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// Defaults of addresses.
const (
	DefaultFunctions  = "127.0.0.1:7071"
	DefaultManagement = "127.0.0.1:7443"
	DefaultMetrics    = "127.0.0.1:7090"
	DefaultDomain     = "localhost"
)

// Config says what a node is made of. Only DataDir is required.
type Config struct {
	DataDir string // state, keys and unpacked packages; made with mode 0700
	Node    string // name of this node, unique among those on one state; default the machine's name
	Domain  string // apps are at <app>.<domain>

	Functions  string // host:port of the apps; port 0 picks a free one
	Management string // host:port of the management API, over TLS
	Metrics    string // host:port of metrics and health; "" is none

	State      StateConfig
	Workers    WorkersConfig
	Containers ContainersConfig
	// KEK is the key-encryption key, base64; "" is the file in DataDir.
	KEK string
	// Environ is the process environment, of which workers get the harmless part.
	Environ []string
	// NewOwnerCredential gives the owner another secret, for when its file is lost.
	NewOwnerCredential bool

	MaxPackage int64 // largest package, in bytes; 0 is the default
	// MaxBody is the largest request body that settings of an app can allow, in bytes;
	// 0 is the default.
	MaxBody int64
	// Orchestrations bounds what the orchestrations of each app take of the state.
	Orchestrations OrchestrationsConfig

	// CertFile and KeyFile are the management API's own certificate, for the names
	// in it; others get one of the installation's authority. They are read again
	// when they change.
	CertFile, KeyFile string
	// IssuerNetworks are private networks in which federated issuers may be.
	IssuerNetworks []netip.Prefix
	// AppNetworks are networks of the node and its surroundings in which storage
	// accounts of apps' bindings may be; public and private ones are reached anyway.
	AppNetworks []netip.Prefix

	// TokenAlgorithm is what new signing keys are made for: "RS256" (default) or "ES256".
	TokenAlgorithm string
	// TokenLifetime is that of apps' tokens; 0 is the default.
	TokenLifetime time.Duration
	// Upstream gives identities tokens of the cloud's own token service.
	Upstream   []Upstream
	References ReferencesConfig
	// AlertRetiredKeys tells the webhook of references that former values of keys are
	// used.
	AlertRetiredKeys bool
	// Keys are declared keys of apps, which have been checked; KeysFile names a file
	// with more of them, which is read again when it changes.
	Keys     []keyseed.Entry
	KeysFile string
	// StoppedTokenExpiry reproduces a fault of the cloud: references of an app that
	// has been stopped for a day are refused and lose their values.
	StoppedTokenExpiry bool
	Portal             PortalConfig
	// Drill lets the owner move the clock and make parts fail. Clock must then be
	// nil.
	Drill bool

	Version   string
	Log       io.Writer
	LogFormat telemetry.Format
	LogLevel  string
	Grace     time.Duration // for requests in progress when the node ends
	Clock     clock.Clock
}

// StateConfig says where the control plane's documents are.
type StateConfig struct {
	Kind string // "bolt" (default) or "etcd"
	Path string // bolt: the file; default DataDir/state.db
	Etcd EtcdConfig
}

// Upstream says what an identity is in the cloud, and proves itself by there.
type (
	Upstream     = entra.Mapping
	UpstreamMode = entra.Mode
)

// PublicAuthority is the token service of the public cloud.
const PublicAuthority = entra.DefaultAuthorityHost

// ReferencesConfig says how vault references are kept up to date.
type ReferencesConfig struct {
	Interval      time.Duration // how often secrets are read again besides when ours change; 0 is the default
	Refuse        bool          // an app with a reference that never resolved is not started
	RealVaults    []string      // suffixes of hosts that are vaults of the cloud
	Webhook       string        // gets changes of status; "" is none
	WebhookSecret []byte
}

// PortalConfig says whether there are web pages.
type PortalConfig struct {
	Off    bool
	Issuer PortalIssuer // by which people sign in besides links
}

// WorkersConfig says as which users the workers of apps run.
type WorkersConfig struct {
	Isolation string // "auto" (default): as users of their own where possible; "off"; "required"
	FirstID   uint32 // first of the 65,536 ids of these users; default 2,100,000,000
}

// OrchestrationsConfig bounds those of one app. Zero values are the defaults.
type OrchestrationsConfig struct {
	Most  int64 // number of them, finished ones that were not purged included
	Bytes int64 // of all of them together
}

// DefaultMaxBody is the largest request body of an app unless Config says otherwise.
const DefaultMaxBody = 100 << 20

// EtcdConfig says how etcd is reached.
type EtcdConfig struct {
	Endpoints          []string
	Prefix             string
	Username, Password string
	TLS                *tls.Config
}

func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, problem.New(problem.Invalid, "no data folder is given").WithNext("give one with --data-dir or dataDir in the configuration")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, err
	}
	c.DataDir = dir
	setDefault(&c.Domain, DefaultDomain)
	setDefault(&c.Functions, DefaultFunctions)
	setDefault(&c.Management, DefaultManagement)
	setDefault(&c.State.Kind, "bolt")
	setDefault(&c.Containers.Engine, EngineAuto)
	setDefault(&c.State.Path, filepath.Join(dir, "state.db"))
	if c.Node == "" {
		if c.Node, err = os.Hostname(); err != nil {
			return c, problem.Wrap(problem.Invalid, "this machine has no name", err).WithNext("name the node with --node")
		}
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
		if c.Drill {
			c.Clock = clock.NewDrill()
		}
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c, nil
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// splitAddress reads host:port of a setting.
func splitAddress(setting, address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, problem.New(problem.Invalid, fmt.Sprintf("%s address %q is not host:port", setting, address)).
			WithNext("write it as 127.0.0.1:7071, or [::1]:7071")
	}
	return host, port, nil
}

// kek says where the key-encryption key is.
func (c Config) kek() keyset.KEK {
	return keyset.NewKEK(c.KEK, filepath.Join(c.DataDir, keyset.KEKFile))
}
