// Package terraform drives Latchkey with the real Terraform and its azurerm
// provider, where they are.
package terraform

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/internal/trust/connect"
)

func TestMain(m *testing.M) {
	containerMain()
	testkit.Main(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// azurermVariable names the program of the azurerm provider to test with. It is
// never built or fetched here: that takes half an hour and some gigabytes.
const azurermVariable = "LATCHKEY_TEST_AZURERM"

// runTime bounds one run. The provider itself waits 20 s when it makes a
// resource group and 25 s for a role assignment.
const runTime = 10 * time.Minute

// workspace is a folder with a configuration, and everything of Terraform's own
// kept apart from the person's.
type workspace struct {
	dir string
	env []string
}

// programs gives the path of the provider, or skips the test where a program is
// missing.
func programs(t *testing.T) string {
	t.Helper()
	provider := os.Getenv(azurermVariable)
	if provider == "" {
		t.Skip("set " + azurermVariable + " to the program of the azurerm provider (terraform-provider-azurerm) to test with Terraform")
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not on the PATH; install it to test with it")
	}
	provider, err := filepath.Abs(provider)
	must(t, err)
	_, err = os.Stat(provider)
	must(t, err)
	return provider
}

func newWorkspace(t *testing.T, p *platformtest.Platform, provider, config string) *workspace {
	t.Helper()
	home := t.TempDir()
	plugins, work := filepath.Join(home, "plugins"), filepath.Join(home, "work")
	must(t, os.MkdirAll(plugins, 0o700))
	must(t, os.MkdirAll(work, 0o700))
	must(t, os.Symlink(provider, filepath.Join(plugins, "terraform-provider-azurerm")))
	rc := filepath.Join(home, "rc")
	must(t, os.WriteFile(rc, []byte("disable_checkpoint = true\nprovider_installation {\n  dev_overrides { \"hashicorp/azurerm\" = "+strconv.Quote(plugins)+" }\n}\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(work, "main.tf"), []byte(config), 0o600))
	endpoint, err := url.Parse(p.Cred.Endpoint)
	must(t, err)
	proxy := "http://" + proxyFor(t, p)
	return &workspace{dir: work, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "TF_DATA_DIR=" + filepath.Join(home, "data"), "TF_CLI_CONFIG_FILE=" + rc,
		"TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
		"SSL_CERT_FILE=" + filepath.Join(p.Config.DataDir, platform.BundleFile), "HTTPS_PROXY=" + proxy, "HTTP_PROXY=" + proxy,
		"ARM_METADATA_HOSTNAME=" + endpoint.Host, "ARM_RESOURCE_PROVIDER_REGISTRATIONS=none", "ARM_TENANT_ID=" + p.Cred.TenantID,
		"ARM_SUBSCRIPTION_ID=" + p.Cred.SubscriptionID, "ARM_CLIENT_ID=" + p.Cred.ClientID, "ARM_CLIENT_SECRET=" + p.Cred.ClientSecret,
	}}
}

// proxyFor serves the proxy through which the provider finds the deployment
// endpoint of the app, and nothing outside of the installation.
func proxyFor(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	functions, err := netip.ParseAddrPort(p.Node.FunctionsAddr())
	must(t, err)
	endpoint, err := url.Parse(p.Cred.Endpoint)
	must(t, err)
	management, err := strconv.Atoi(endpoint.Port())
	must(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	proxy := connect.New(connect.Config{
		Domain: platform.DefaultDomain, Node: "127.0.0.1", Ports: []int{int(functions.Port()), management}, Log: slog.New(slog.DiscardHandler),
	})
	go func() { ended <- proxy.Serve(ctx, l, platformtest.Patience) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return l.Addr().String()
}

// run runs a command and gives its output, its exit code and what it took.
func (tf *workspace) run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "terraform", append(args, "-no-color")...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends its providers
	cmd.WaitDelay = time.Minute
	start := time.Now()
	raw, err := cmd.CombinedOutput()
	t.Logf("terraform %s took %s", args[0], time.Since(start).Round(10*time.Millisecond))
	if cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("terraform %s: %v %v\n%s", args[0], err, ctx.Err(), raw)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

// must runs a command that has to end with a code.
func (tf *workspace) must(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, code := tf.run(t, args...)
	if code != want {
		t.Fatalf("terraform %s ended with code %d, want %d\n%s", strings.Join(args, " "), code, want, out)
	}
	return out
}

const config = `
terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}
provider "azurerm" {
  features {}
}
variable "package" { type = string }
variable "upstream" { type = string }
variable "reader" { type = string }
variable "greeting" {
  type    = string
  default = "hello"
}
resource "azurerm_resource_group" "rg" {
  name     = "rg"
  location = "local"
  tags     = { team = "orders" }
}
resource "azurerm_service_plan" "plan" {
  name                = "plan"
  resource_group_name = azurerm_resource_group.rg.name
  location            = azurerm_resource_group.rg.location
  os_type             = "Linux"
  sku_name            = "Y1"
}
resource "azurerm_storage_account" "store" {
  name                     = "ordersstore"
  resource_group_name      = azurerm_resource_group.rg.name
  location                 = azurerm_resource_group.rg.location
  account_tier             = "Standard"
  account_replication_type = "LRS"
}
resource "azurerm_linux_function_app" "app" {
  name                       = "orders"
  resource_group_name        = azurerm_resource_group.rg.name
  location                   = azurerm_resource_group.rg.location
  service_plan_id            = azurerm_service_plan.plan.id
  storage_account_name       = azurerm_storage_account.store.name
  storage_account_access_key = azurerm_storage_account.store.primary_access_key
  zip_deploy_file            = var.package
  app_settings = {
    GREETING                 = var.greeting
    WEBSITE_RUN_FROM_PACKAGE = "1"
    ` + testkit.UpstreamSetting + ` = var.upstream
  }
  site_config {
    application_stack { use_custom_runtime = true }
  }
}
data "azurerm_function_app_host_keys" "keys" {
  name                = azurerm_linux_function_app.app.name
  resource_group_name = azurerm_resource_group.rg.name
}
resource "azurerm_role_assignment" "reader" {
  scope                            = azurerm_linux_function_app.app.id
  role_definition_name             = "Reader"
  principal_id                     = var.reader
  skip_service_principal_aad_check = true
}
output "key" {
  value     = data.azurerm_function_app_host_keys.keys.default_function_key
  sensitive = true
}
output "host" { value = azurerm_linux_function_app.app.default_hostname }
`

// TestTerraformManagesAnApp is the daily work of the azurerm provider, and the
// incident that this program exists for: a plan while the app is stopped.
func TestTerraformManagesAnApp(t *testing.T) {
	provider := programs(t)
	p := platformtest.Start(t, platform.Config{})
	tf := newWorkspace(t, p, provider, config)
	tf.prepare(t, p)

	tf.must(t, 0, "apply", "-auto-approve")
	tf.must(t, 0, "plan", "-detailed-exitcode")
	key := tf.output(t, "key")
	if status, body := p.Call(t, "orders", "/api/f", key); status != http.StatusOK || body != "hello" {
		t.Errorf("calling the function with Terraform's key: %d %q", status, body)
	}

	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	platformtest.Until(t, "the app is stopped", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", key)
		return status == http.StatusForbidden
	})
	tf.must(t, 0, "plan", "-detailed-exitcode")
	if again := tf.output(t, "key"); again != key {
		t.Error("the key changed while the app was stopped")
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/start", nil, nil)

	if out := tf.must(t, 2, "plan", "-detailed-exitcode", "-var", "greeting=bye"); !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") {
		t.Errorf("a changed setting is planned as\n%s", out)
	}
	tf.must(t, 0, "apply", "-auto-approve", "-var", "greeting=bye")
	tf.must(t, 0, "plan", "-detailed-exitcode", "-var", "greeting=bye")
	tf.must(t, 0, "destroy", "-auto-approve")
	if err := p.Client.Do(t.Context(), http.MethodGet, p.Subscription()+"/resourceGroups/rg", nil, nil); err == nil {
		t.Error("the resource group is still there")
	}
}

// prepare writes the values of the configuration's variables.
func (tf *workspace) prepare(t *testing.T, p *platformtest.Platform) {
	t.Helper()
	var reader struct {
		ID string `json:"objectId"`
	}
	p.Do(t, http.MethodPost, "/providers/Latchkey.Directory/principals", map[string]any{"name": "reader"}, &reader)
	zip := filepath.Join(tf.dir, "app.zip")
	must(t, os.WriteFile(zip, platformtest.Package(t, []string{"f"}, nil), 0o600))
	upstream := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	text, err := json.Marshal(map[string]string{"package": zip, "upstream": upstream, "reader": reader.ID})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tf.dir, "terraform.tfvars.json"), text, 0o600))
}

func (tf *workspace) output(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(tf.must(t, 0, "output", "-raw", name))
}
