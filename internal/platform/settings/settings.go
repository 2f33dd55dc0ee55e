// Package settings owns the server's own configuration: latchkey.yaml and the
// environment variables that stand above it. It reads strictly and reports all
// faults at once; it does not know what the values are for.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/problem"
)

// FileName is the configuration file that is read from the current folder when
// none is named.
const FileName = "latchkey.yaml"

// EnvPrefix begins the variables that stand above the file: LATCHKEY_DATA_DIR for
// dataDir, LATCHKEY_STATE_ETCD_ENDPOINTS (comma-separated) for
// state.etcd.endpoints.
const EnvPrefix = "LATCHKEY_"

// File is the configuration. Zero values mean that nothing is said.
type File struct {
	DataDir    string     `json:"dataDir"`
	Node       string     `json:"node"`
	Domain     string     `json:"domain"`
	Functions  Listen     `json:"functions"`
	Management Listen     `json:"management"`
	Metrics    Listen     `json:"metrics"`
	State      State      `json:"state"`
	Log        Log        `json:"log"`
	Packages   Limits     `json:"packages"`
	Apps       Apps       `json:"apps"`
	Workers    Workers    `json:"workers"`
	Containers Containers `json:"containers"`
	Federation Issuers    `json:"federation"`
	Tokens     Tokens     `json:"tokens"`
	Identity   Identity   `json:"identity"`
	References References `json:"references"`
	Alerts     Alerts     `json:"alerts"`
	Quirks     Quirks     `json:"quirks"`
	Portal     Portal     `json:"portal"`

	Keys     []keyseed.Entry `json:"keys"`     // that apps are to have
	KeysFile string          `json:"keysFile"` // with more of them
}

// Tokens says how tokens are made.
type Tokens struct {
	Algorithm string `json:"algorithm"` // RS256 or ES256
}

// Identity says what apps get from their identity endpoint.
type Identity struct {
	TokenLifetime string     `json:"tokenLifetime"` // such as 1h; at most 24h
	Upstream      []Upstream `json:"upstream"`
}

// Upstream gives an identity tokens of the cloud's own token service.
type Upstream struct {
	Identity        string   `json:"identity"` // name or resource id of an app or a user-assigned identity
	Mode            string   `json:"mode"`     // workload, secret, certificate or machine
	TenantID        string   `json:"tenantId"`
	ClientID        string   `json:"clientId"`
	SecretFile      string   `json:"secretFile"`
	CertificateFile string   `json:"certificateFile"`
	TokenFile       string   `json:"tokenFile"`
	AuthorityHost   string   `json:"authorityHost"`
	Resources       []string `json:"resources"`
}

// References says how vault references are kept up to date.
type References struct {
	Interval          string   `json:"interval"`   // such as 5m
	OnFailure         string   `json:"onFailure"`  // literal or refuse
	RealVaults        []string `json:"realVaults"` // suffixes of hosts that are vaults of the cloud
	Webhook           string   `json:"webhook"`
	WebhookSecretFile string   `json:"webhookSecretFile"`
}

// Alerts says what the webhook of references is told besides.
type Alerts struct {
	RetiredKeys bool `json:"retiredKeys"` // use of former values of keys
}

// Quirks are faults of the platform that can be switched on to see them.
type Quirks struct {
	StoppedSiteTokenExpiry bool `json:"stoppedSiteTokenExpiry"`
}

// Portal are the web pages.
type Portal struct {
	Disabled bool `json:"disabled"`
	OIDC     OIDC `json:"oidc"`
}

// Listen is an address to serve at.
type Listen struct {
	Address  string `json:"address"`  // host:port
	CertFile string `json:"certFile"` // management only: a certificate of its own
	KeyFile  string `json:"keyFile"`
}

// Issuers of federated credentials.
type Issuers struct {
	Networks []string `json:"networks"` // private networks in which they may be, as 10.0.0.0/8
}

// State says where the control plane's documents are.
type State struct {
	Kind string `json:"kind"` // bolt or etcd
	Path string `json:"path"` // bolt's file
	Etcd Etcd   `json:"etcd"`
}

// Etcd says how etcd is reached. Passwords are in files, not here.
type Etcd struct {
	Endpoints    []string `json:"endpoints"`
	Prefix       string   `json:"prefix"`
	Username     string   `json:"username"`
	PasswordFile string   `json:"passwordFile"`
	CAFile       string   `json:"caFile"`
	CertFile     string   `json:"certFile"`
	KeyFile      string   `json:"keyFile"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `json:"level"`
	Format string `json:"format"`
}

// Limits of packages.
type Limits struct {
	MaxBytes int64 `json:"maxBytes"`
}

// Apps says what each app may use at most.
type Apps struct {
	MaxBodyBytes          int64 `json:"maxBodyBytes"` // of a request
	MaxOrchestrations     int64 `json:"maxOrchestrations"`
	MaxOrchestrationBytes int64 `json:"maxOrchestrationBytes"` // of all of them together
	// Networks are those of the node and its surroundings that bindings may reach.
	Networks []string `json:"networks"`
}

// Workers says as which users the workers of apps run.
type Workers struct {
	Isolation string `json:"isolation"` // auto, off or required
	FirstID   int64  `json:"firstId"`   // of the ids for their users
}

// Containers says how container apps run.
type Containers struct {
	Engine string `json:"engine"` // one of Engines
	Host   string `json:"host"`   // of the Docker Engine API, such as unix:///run/docker.sock
	// ProcessAsRoot lets the engine of processes run on a node that is root.
	ProcessAsRoot bool `json:"processAsRoot"`
	// QueueServices are addresses of storage accounts' queues for scale rules with an
	// identity, as account=address.
	QueueServices []string   `json:"queueServices"`
	Kubernetes    Kubernetes `json:"kubernetes"`
}

// Engines are those that container apps can run on.
var Engines = []string{"auto", "docker", EngineKubernetes, "process", "none"}

// notOurs are variables with the prefix that are no settings of this file.
var notOurs = []string{"LATCHKEY_KEK", "LATCHKEY_TRUST_FRONT_END"}

// Load reads the file at path ("" is FileName in the current folder, which may be
// missing) and puts the environment above it. It returns one error that lists
// every fault with where it is: problem.Invalid, or problem.NotFound for a file
// that was named and is not there.
func Load(path string, environ []string) (File, error) {
	var f File
	text, err := read(path)
	if err != nil {
		return f, err
	}
	name := path
	if name == "" {
		name = FileName
	}
	faults := decode(text, name, &f)
	f.locate(name)
	faults = append(faults, overlay(&f, environ)...)
	faults = append(faults, checkKeys(f.Keys, name, keyseed.Place{Path: "keys", Apps: true})...)
	faults = append(faults, check(f)...)
	if f.Alerts.RetiredKeys && f.References.Webhook == "" {
		faults = append(faults, "alerts.retiredKeys: is true, but references.webhook, which would be told, is not given")
	}
	if len(faults) > 0 {
		return f, problem.New(problem.Invalid, "the configuration has faults:\n  "+strings.Join(faults, "\n  ")).
			WithNext("correct them; docs/settings.md lists all settings")
	}
	return f, nil
}

func read(path string) ([]byte, error) {
	name := path
	if name == "" {
		name = FileName
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && path == "" {
		return nil, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(problem.NotFound, "there is no configuration file "+path, err)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the configuration file "+name+" cannot be read", err)
	}
	return text, nil
}

// decode reads YAML into f and gives the faults: what is unknown, and what has
// the wrong type, each with its path.
func decode(text []byte, file string, f any) []string {
	var tree any
	if err := yaml.UnmarshalStrict(text, &tree); err != nil {
		return []string{file + ": " + unquoted(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "))}
	}
	if tree == nil {
		return nil
	}
	var faults []string
	fill(reflect.ValueOf(f).Elem(), tree, "", func(path, what string) {
		faults = append(faults, file+": "+strings.TrimPrefix(path, ".")+": "+what)
	})
	sort.Strings(faults)
	return faults
}

// unquoted takes texts of the file out of what is wrong with its form: they may be
// values of keys.
func unquoted(fault string) string {
	if strings.Contains(fault, "unknown anchor '") {
		return "yaml: a text that begins with * must be in quotes"
	}
	before, after, found := strings.Cut(fault, "`")
	if end := strings.LastIndex(after, "`"); found && end >= 0 {
		return before + "…" + after[end+1:]
	}
	return fault
}

// fill sets v from a decoded value; fault is told of what does not fit.
func fill(v reflect.Value, from any, path string, fault func(path, what string)) {
	switch v.Kind() {
	case reflect.Struct:
		fillStruct(v, from, path, fault)
	case reflect.String:
		if s, ok := from.(string); ok {
			v.SetString(s)
		} else {
			fault(path, "must be text, not "+kindOf(from))
		}
	case reflect.Int64:
		if n, ok := from.(float64); ok && n == float64(int64(n)) {
			v.SetInt(int64(n))
		} else {
			fault(path, "must be a whole number, not "+kindOf(from))
		}
	case reflect.Bool:
		if b, ok := from.(bool); ok {
			v.SetBool(b)
		} else {
			fault(path, "must be true or false, not "+kindOf(from))
		}
	case reflect.Slice:
		list, ok := from.([]any)
		if !ok {
			fault(path, "must be a list, not "+kindOf(from))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		for i := range list {
			fill(v.Index(i), list[i], fmt.Sprintf("%s[%d]", path, i), fault)
		}
	}
}

func fillStruct(v reflect.Value, from any, path string, fault func(path, what string)) {
	members, ok := from.(map[string]any)
	if !ok {
		if path == "" {
			path = "the file"
		}
		fault(path, "must be a map of settings, not "+kindOf(from))
		return
	}
	known := fieldNames(v.Type())
	for name, value := range members {
		i := slices.Index(known, name)
		switch {
		case i < 0:
			fault(path+"."+name, "unknown setting; known are "+strings.Join(known, ", "))
		case value != nil:
			fill(v.Field(i), value, path+"."+name, fault)
		}
	}
}

func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("json")
	}
	return names
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "true or false"
	case float64:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	}
	return "a map"
}

// overlay sets f from the environment and gives the faults: variables with our
// prefix that are no setting.
func overlay(f *File, environ []string) []string {
	leaves := map[string]reflect.Value{}
	collect(reflect.ValueOf(f).Elem(), EnvPrefix, leaves)
	var faults []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(notOurs, name) || strings.HasPrefix(name, "LATCHKEY_TEST_") || strings.HasPrefix(name, "LATCHKEY_CLIENT_") {
			continue
		}
		leaf, known := leaves[name]
		if !known {
			faults = append(faults, "environment: "+name+": unknown setting")
			continue
		}
		if what := setText(leaf, value); what != "" {
			faults = append(faults, "environment: "+name+": "+what)
		}
	}
	sort.Strings(faults)
	return faults
}

func collect(v reflect.Value, prefix string, leaves map[string]reflect.Value) {
	for i, name := range fieldNames(v.Type()) {
		name = prefix + upper(name)
		if v.Field(i).Kind() == reflect.Struct {
			collect(v.Field(i), name+"_", leaves)
			continue
		}
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			continue // only the file can say it
		}
		leaves[name] = v.Field(i)
	}
}

// upper turns dataDir into DATA_DIR, and caFile into CA_FILE.
func upper(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

func setText(v reflect.Value, text string) (fault string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "must be a whole number"
		}
		v.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "must be true or false"
		}
		v.SetBool(b)
	case reflect.Slice:
		v.Set(reflect.ValueOf(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })))
	}
	return ""
}

// maxFirstID leaves room for 65536 ids, and for the last two, which mean nobody.
const maxFirstID = 1<<32 - 3 - 1<<16
