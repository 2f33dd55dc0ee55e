// Package internal_test guards the shape of the whole module: which package may
// import which, and rules that every source file keeps (see shape_test.go). It
// does not know what any package does; a new package is added to the table.
package internal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/latchkey/latchkey"

// Layers of the architecture; imports point from a higher one to a lower one.
const (
	values    = iota // standard library only, no I/O
	contracts        // what stores and sealing promise, and the backends below them
	services         // work on contracts
	runtime          // running apps
	edges            // HTTP dialects
	assembly         // puts everything together
	programs         // mains, benchmarks, witnesses: nothing imports them
)

// layers has every package of the module, by path below the module. A trailing
// slash stands for all packages below.
var layers = map[string]int{
	"azfkey":             values,
	"internal/resource":  values,
	"internal/problem":   values,
	"internal/accesskey": values,
	"internal/authz":     values,
	"internal/keyref":    values,
	"internal/clock":     values,
	"internal/places":    values,
	"internal/template":  values,
	"internal/template/": values,

	"internal/atomicfile": contracts,
	"internal/cloudfault": contracts,
	"internal/egress":     contracts,
	"internal/state":      contracts,
	"internal/state/":     contracts,
	"internal/keystore":   contracts,
	"internal/kubeapi":    contracts,
	"internal/kubeapi/":   contracts,
	"internal/keystore/":  contracts,
	"internal/seal":       contracts,
	"internal/seal/":      contracts,

	"internal/keyring":       services,
	"internal/keyowners":     services,
	"internal/keyseed":       services,
	"internal/keyinfo":       services,
	"internal/identity":      services,
	"internal/identity/":     services,
	"internal/inventory":     services,
	"internal/rbac":          services,
	"internal/release":       services,
	"internal/token":         services,
	"internal/vault":         services,
	"internal/vault/":        services,
	"internal/reference":     services,
	"internal/reference/":    services,
	"internal/drill":         services,
	"internal/notify":        services,
	"internal/app":           services,
	"internal/containerapp":  services,
	"internal/containerapp/": services,
	"internal/audit":         services,
	"internal/telemetry":     services,
	"internal/traffic":       services,
	"internal/concern":       services,
	"internal/applog":        services,
	"internal/scan":          services,
	"internal/trust":         services,

	"internal/funcapp":             runtime,
	"internal/route":               runtime,
	"internal/worker":              runtime,
	"internal/worker/":             runtime,
	"workers/":                     runtime, // built workers, which the binary carries
	"internal/trigger":             runtime,
	"internal/trigger/":            runtime,
	"internal/instance":            runtime,
	"internal/engine":              runtime,
	"internal/containerapp/runner": runtime,
	"internal/engine/":             runtime,
	"internal/scale":               runtime,
	"internal/scale/":              runtime,

	"internal/containerapp/registries": runtime, // by which right engines pull images

	"internal/web":       edges,
	"internal/web/":      edges,
	"internal/funchost":  edges,
	"internal/funchost/": edges,
	"internal/ingress":   edges,
	"internal/ingress/":  edges,
	"internal/armapi":    edges,
	"internal/armapi/":   edges,
	"internal/scmapi":    edges,
	"internal/armclient": edges,
	"internal/vaultapi":  edges,
	"internal/tokenapi":  edges,
	"internal/tokenapi/": edges,
	"internal/portal":    edges,
	"internal/portal/":   edges,
	"internal/trust/":    edges, // the proxy for clients that resolve no names of apps

	"internal/containerstream": edges, // logs and consoles of container apps

	"internal/server":    assembly,
	"internal/server/":   assembly,
	"internal/platform":  assembly,
	"internal/platform/": assembly,
	"internal/cli":       assembly,
	"internal/cli/":      assembly,
	"internal/testkit":   assembly,
	"internal/testkit/":  assembly,

	"internal":      programs, // these tests
	"cmd/":          programs,
	"examples/":     programs,
	"bench":         programs,
	"bench/":        programs,
	"deploy/":       programs, // tests of manifests
	"test/witness":  programs,
	"test/witness/": programs,
	"test/azurite":  programs,
	"test/portal":   programs,
	"test/nodeapp":  programs,

	"test/containerapps":  programs,
	"test/containerapps/": programs,
}

// beside lists the imports that stay within a layer. A package may also import
// problem, its parent, its children and its siblings (worker/custom → worker/hop).
var beside = map[string][]string{
	"internal/keystore/controlplane": {"internal/state"}, // keys live in the control plane's state

	"internal/accesskey":           {"azfkey"},           // the key format is public, the vocabulary is ours
	"internal/keyinfo":             {"internal/keyring"}, // keys in use, as they are shown
	"internal/keyowners":           {"internal/scan"},    // which asks it, about what it found
	"internal/keystore/":           {"internal/atomicfile", "internal/cloudfault", "internal/kubeapi", "internal/seal"},
	"internal/seal/":               {"internal/atomicfile"},
	"internal/state/":              {"internal/atomicfile", "internal/seal"},
	"internal/reference":           {"internal/app", "internal/inventory", "internal/identity"},
	"internal/reference/":          {"internal/identity"},
	"internal/vault":               {"internal/inventory"},
	"internal/vault/":              {"internal/inventory"},
	"internal/applog":              {"internal/telemetry"}, // what of a line is a secret
	"internal/telemetry":           {"internal/traffic"},   // charts and metrics count the same requests
	"internal/audit":               {"internal/telemetry"}, // what of a caller's text is a secret
	"internal/authz":               {"internal/resource"},
	"internal/keyseed":             {"internal/keyring"}, // declared keys are made in a keyring
	"internal/identity":            {"internal/token", "internal/inventory"},
	"internal/identity/":           {"internal/token", "internal/inventory"},
	"internal/rbac":                {"internal/inventory"},
	"internal/app":                 {"internal/inventory", "internal/release"},
	"internal/containerapp":        {"internal/inventory", "internal/identity/managed"},
	"internal/containerapp/":       {"internal/identity"}, // rules are about the identities an app has
	"internal/route":               {"internal/funcapp"},
	"internal/worker":              {"internal/funcapp"}, // workers are told functions as the app's files describe them
	"internal/worker/":             {"internal/funcapp"},
	"internal/trigger":             {"internal/funcapp", "internal/worker"},                         // values of invocations, as workers take and give them
	"internal/trigger/":            {"internal/funcapp", "internal/worker", "internal/worker/view"}, // what of a request is data, without its keys
	"internal/containerapp/runner": {"internal/engine"},                                             // what runs apps calls it
	"internal/engine/":             {"internal/worker", "internal/worker/child"},                    // process groups that leave nothing behind
	"internal/scale":               {"internal/engine"},
	"internal/scale/":              {"internal/engine", "internal/trigger/schedule", "internal/trigger/storage", "internal/trigger/queue/account"}, // times and queues are those of triggers
	"internal/instance":            {"internal/funcapp", "internal/route", "internal/worker", "internal/trigger"},
	"internal/funchost":            {"internal/web"},
	"internal/funchost/":           {"internal/web"},
	"internal/armapi":              {"internal/web"},
	"internal/armapi/":             {"internal/web"},
	"internal/scmapi":              {"internal/web"},
	"internal/vaultapi":            {"internal/web"},
	"internal/tokenapi":            {"internal/web"},
	"internal/tokenapi/":           {"internal/web"},
	"internal/portal":              {"internal/web", "internal/armapi"},
	"internal/server":              {"internal/platform/settings"}, // latchkey.yaml is one file, read in one way
	"internal/cli":                 {"internal/server", "internal/platform", "internal/platform/settings"},
	"internal/cli/":                {"internal/server"}, // functions are listed the same way, wherever they are
	"internal/platform":            {"internal/server", "internal/server/hosted", "internal/server/stores"},
	"internal/platform/":           {"internal/server", "internal/server/hosted"},
	"internal/testkit":             {"internal/server"},
	"internal/testkit/":            {"internal/platform"},
	"bench":                        {"bench/seed"}, // states of many apps are made before they are measured

	"internal/containerapp/registries": {"internal/engine"},
	// secrets of vaults are references of another spelling
	"internal/containerapp/vaultsecrets": {"internal/reference", "internal/app", "internal/inventory"},
}

// backends are implementations of contracts: server picks one, nobody else may know it.
var backends = []string{
	"internal/keystore/memory", "internal/keystore/files", "internal/keystore/blob",
	"internal/keystore/keyvault", "internal/keystore/kubernetes", "internal/keystore/containerapps", "internal/keystore/controlplane",
	"internal/state/memory", "internal/state/bolt", "internal/state/etcd",
	"internal/seal/dataprotection", "internal/seal/keyset",
	"internal/identity/entra", "internal/reference/keyvault", // the real cloud
	"internal/engine/memory", "internal/engine/process", "internal/engine/docker", "internal/engine/kubernetes",
}

// assemblers may know backends: who picks them, and the seeder of benchmarks, which
// fills what the platform would open.
// The vault for tests keeps its secrets in memory.
var assemblers = []string{"internal/server", "internal/server/stores", "internal/platform", "bench/seed", "internal/testkit/localvault"}

// fakes are the backends that anybody's tests may use.
var fakes = []string{"internal/keystore/memory", "internal/state/memory", "internal/engine/memory"}

// standIns are what tests of a package may use of ours from above in place of the
// real thing, each with the reason.
var standIns = map[string]string{
	"internal/identity/entra": "internal/tokenapi", // it speaks as Entra does
}

// testOnly are for tests wherever they are: conformance suites and helpers.
var testOnly = []string{"internal/testkit", "internal/testkit/", "internal/keystore/keystoretest", "internal/state/statetest", "internal/engine/enginetest/", "internal/trigger/durable/storetest", "internal/state/etcd/etcdtest", "internal/worker/rpc/testworker", "test/azurite"}

// homes says where a library may be imported; a trailing slash includes what is below.
var homes = map[string][]string{
	"github.com/prometheus/":     {"internal/telemetry"},
	"github.com/spf13/":          {"internal/cli"},
	"github.com/go-jose/":        {"internal/funchost/access", "internal/token", "internal/identity", "internal/identity/", "internal/testkit/localregistry", "internal/testkit/localissuer"},
	"github.com/tink-crypto/":    {"internal/seal/"},
	"github.com/Azure/":          {"internal/cloudfault", "internal/keystore/", "internal/state/", "internal/engine/", "internal/worker/", "test/witness/", "examples/", "internal/identity/entra", "internal/reference/keyvault", "internal/trigger/queue/account"},
	"k8s.io/":                    {"internal/keystore/", "internal/state/", "internal/engine/"},
	"go.etcd.io/":                {"internal/state/", "bench"}, // bench: what the stores can do by themselves
	"google.golang.org/grpc":     {"internal/state/", "internal/engine/", "internal/worker/"},
	"github.com/docker/":         {"internal/engine/"},
	"github.com/moby/":           {"internal/engine/"},
	"github.com/coreos/go-oidc/": {"internal/portal/issuer"},
	"github.com/gorilla/":        {"internal/containerstream", "internal/cli/containerapps"},
	"github.com/rogpeppe/":       nil, // for tests and packages of testOnly
	"github.com/google/go-cmp/":  nil,
	"github.com/chromedp/":       nil,
	"honnef.co/go/":              nil,
	"github.com/stretchr/":       nil,
	"github.com/sirupsen/logrus": nil,

	"github.com/google/go-containerregistry/": nil, // registries of tests
}

// impure are the standard packages that values must not import.
var impure = []string{"net/http", "os", "os/exec", "log/slog", "log", "database/sql"}

// pkg is what go list says about a package, paths below the module made short.
type pkg struct {
	Path        string `json:"ImportPath"`
	Name        string
	Dir         string
	Imports     []string
	TestImports []string
	XTest       []string `json:"XTestImports"`
}

func TestImportsPointDown(t *testing.T) {
	for _, fault := range importFaults(list(t)) {
		t.Error(fault)
	}
}

// list gives every package of the module, also such that do not build right now.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-buildvcs=false",
		"-json=ImportPath,Name,Dir,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p.short())
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func (p pkg) short() pkg {
	cut := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, s := range paths {
			out[i] = strings.TrimPrefix(s, module+"/")
		}
		return out
	}
	p.Path = strings.TrimPrefix(p.Path, module+"/")
	p.Imports, p.TestImports, p.XTest = cut(p.Imports), cut(p.TestImports), cut(p.XTest)
	return p
}

// importFaults says what is wrong with the imports of packages.
func importFaults(pkgs []pkg) []string {
	var faults []string
	for _, p := range pkgs {
		layer, known := layerOf(p.Path)
		if !known {
			faults = append(faults, p.Path+" is in no layer: add it to the table in deps_test.go")
			continue
		}
		for _, to := range p.Imports {
			if why := importFault(p.Path, layer, to); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.Path, to, why))
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTest) {
			if why := testImportFault(p.Path, layer, to); why != "" {
				faults = append(faults, fmt.Sprintf("tests of %s import %s: %s", p.Path, to, why))
			}
		}
	}
	return faults
}

func importFault(from string, layer int, to string) string {
	target, known := layerOf(to)
	switch {
	case !known:
		return libraryFault(from, layer, to)
	case from == "azfkey":
		return "a public package must not depend on ours"
	case covers([]string{"examples/"}, from) && to != "azfkey":
		return "examples are what users write, they cannot see internal packages"
	case slices.Contains(backends, to) && !slices.Contains(assemblers, from):
		return "only server and platform know backends"
	case covers(testOnly, to) && !covers(testOnly, from) && from != "bench":
		return "it is for tests"
	case family(from) == "internal/portal" && (target == services || target == runtime):
		return "the portal is a client of the management API"
	case target > layer:
		return "imports point down"
	case target == layer && !mayImportBeside(from, to):
		return "it is in the same layer: list it in deps_test.go with a reason, or cut the tie"
	}
	return ""
}

func libraryFault(from string, layer int, to string) string {
	standard := !strings.Contains(strings.SplitN(to, "/", 2)[0], ".")
	switch {
	case layer == values && slices.Contains(impure, to):
		return "values do no I/O"
	case layer == values && !standard:
		return "values use the standard library only"
	}
	for prefix, allowed := range homes {
		forTests := len(allowed) == 0 && covers(testOnly, from)
		if strings.HasPrefix(to, prefix) && !forTests && !covers(allowed, from) {
			return fmt.Sprintf("this library has its place in %q", allowed)
		}
	}
	return ""
}

// testImportFault is more lenient: tests may use fakes and what lies above only
// through the test kit; real backends only next to them and in the assembly.
func testImportFault(from string, layer int, to string) string {
	target, known := layerOf(to)
	switch {
	case !known || to == from || covers(testOnly, to) || slices.Contains(fakes, to) || standIns[from] == to:
		return ""
	case slices.Contains(backends, to) && layer != contracts && layer < assembly:
		return "use a fake, or test it in server"
	case target > layer:
		return "imports point down, in tests too"
	}
	return ""
}

func layerOf(path string) (int, bool) {
	if l, ok := layers[path]; ok {
		return l, true
	}
	for prefix, l := range layers {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return l, true
		}
	}
	return 0, false
}

// covers reports whether path is one of places or below one that ends in a slash.
func covers(places []string, path string) bool {
	return slices.ContainsFunc(places, func(p string) bool {
		return p == path || strings.HasSuffix(p, "/") && strings.HasPrefix(path+"/", p)
	})
}

func mayImportBeside(from, to string) bool {
	if to == "internal/problem" || family(from) == family(to) && family(from) != "" {
		return true
	}
	for who, allowed := range beside {
		if covers([]string{who}, from) && slices.Contains(allowed, to) {
			return true
		}
	}
	return false
}

// family gives "internal/x" for internal/x and everything below it.
func family(path string) string {
	parts := strings.SplitN(path, "/", 3)
	if len(parts) < 2 {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

func TestImportRulesFindWhatTheyForbid(t *testing.T) {
	tests := []struct {
		from  string
		to    string
		tests bool // the import is one of the package's tests
		fault bool
	}{
		{from: "internal/keyring", to: "internal/keystore"},
		{from: "internal/keystore", to: "internal/keyring", fault: true},
		{from: "internal/keyring", to: "internal/telemetry", fault: true},
		{from: "internal/keyring", to: "internal/keystore/memory", fault: true},
		{from: "internal/keyring", to: "internal/keystore/memory", tests: true},
		{from: "internal/keyring", to: "internal/keystore/files", tests: true, fault: true},
		{from: "internal/keyring", to: "internal/keystore/keystoretest", fault: true},
		{from: "internal/identity/entra", to: "internal/tokenapi", tests: true},
		{from: "internal/identity/entra", to: "internal/tokenapi", fault: true},
		{from: "internal/identity", to: "internal/tokenapi", tests: true, fault: true},
		{from: "internal/keystore/files", to: "internal/keystore/keystoretest", tests: true},
		{from: "internal/keystore/files", to: "internal/keystore/codec"},
		{from: "internal/server", to: "internal/keystore/files"},
		{from: "internal/cli", to: "internal/keystore/files", fault: true},
		{from: "internal/server", to: "internal/cli", fault: true},
		{from: "internal/worker/custom", to: "internal/worker/hop"},
		{from: "internal/funcapp", to: "internal/worker", fault: true},
		{from: "internal/instance", to: "internal/worker"},
		{from: "internal/web", to: "internal/funchost", fault: true},
		{from: "internal/accesskey", to: "net/http", fault: true},
		{from: "internal/accesskey", to: "log/slog", fault: true},
		{from: "internal/accesskey", to: "golang.org/x/sync/errgroup", fault: true},
		{from: "internal/accesskey", to: "strings"},
		{from: "internal/keystore", to: "os"},
		{from: "internal/keyring", to: "github.com/prometheus/client_golang/prometheus", fault: true},
		{from: "internal/telemetry", to: "github.com/prometheus/client_golang/prometheus"},
		{from: "internal/keystore/blob", to: "github.com/Azure/azure-sdk-for-go/sdk/azcore"},
		{from: "internal/funchost", to: "k8s.io/client-go/rest", fault: true},
		{from: "internal/server", to: "sigs.k8s.io/yaml"},
		{from: "internal/funcapp", to: "github.com/google/go-cmp/cmp", fault: true},
		{from: "internal/funcapp", to: "github.com/google/go-cmp/cmp", tests: true},
		{from: "internal/keystore/keystoretest", to: "github.com/google/go-cmp/cmp"},
		{from: "internal/portal", to: "internal/keyring", fault: true},
		{from: "azfkey", to: "internal/problem", fault: true},
		{from: "examples/hello-go", to: "internal/problem", fault: true},
		{from: "internal/helpers", to: "strings", fault: true},
	}
	for _, tt := range tests {
		p := pkg{Path: tt.from}
		if tt.tests {
			p.XTest = []string{tt.to}
		} else {
			p.Imports = []string{tt.to}
		}
		faults := importFaults([]pkg{p})
		if diff := cmp.Diff(tt.fault, len(faults) > 0); diff != "" {
			t.Errorf("%s imports %s (in tests: %v): %q", tt.from, tt.to, tt.tests, faults)
		}
	}
}
