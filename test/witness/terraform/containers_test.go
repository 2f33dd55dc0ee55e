package terraform

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// containerSetting makes this test binary the program of a container, which tells of
// its environment.
const containerSetting = "TERRAFORM_TEST_CONTAINER"

func containerMain() {
	if os.Getenv(containerSetting) == "" {
		return
	}
	answer := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, os.Getenv(r.URL.RawQuery)) }
	_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(answer))
	os.Exit(1)
}

// containerConfig has a container app with everything that the provider can say of
// identities, secrets, registries, ingress and scale.
const containerConfig = `
terraform {
  required_providers {
    azurerm = { source = "hashicorp/azurerm" }
  }
}
provider "azurerm" {
  features {}
}
variable "image" { type = string }
variable "vault" { type = string }
variable "greeting" {
  type    = string
  default = "hello"
}
variable "zone" {
  type    = string
  default = "one"
}
variable "own" {
  type    = bool
  default = true
}
resource "azurerm_resource_group" "rg" {
  name     = "rg"
  location = "local"
}
resource "azurerm_user_assigned_identity" "reader" {
  name                = "Reader"
  resource_group_name = azurerm_resource_group.rg.name
  location            = azurerm_resource_group.rg.location
}
resource "azurerm_role_assignment" "reader" {
  scope                            = var.vault
  role_definition_name             = "Key Vault Secrets User"
  principal_id                     = azurerm_user_assigned_identity.reader.principal_id
  skip_service_principal_aad_check = true
}
resource "azurerm_container_app_environment" "env" {
  name                = "env"
  resource_group_name = azurerm_resource_group.rg.name
  location            = azurerm_resource_group.rg.location
  tags                = { zone = var.zone }
  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
}
resource "azurerm_container_app" "shop" {
  name                         = "shop"
  resource_group_name          = azurerm_resource_group.rg.name
  container_app_environment_id = azurerm_container_app_environment.env.id
  workload_profile_name        = "Consumption"
  revision_mode                = "Single"
  max_inactive_revisions       = 7
  tags                         = { team = "shop" }
  identity {
    type         = var.own ? "SystemAssigned, UserAssigned" : "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.reader.id]
  }
  secret {
    name  = "plain"
    value = "by-value"
  }
  secret {
    name                = "db"
    identity            = azurerm_user_assigned_identity.reader.id
    key_vault_secret_id = "https://boxes.vault.localhost/secrets/db"
  }
  registry {
    server   = "registry.example"
    identity = azurerm_user_assigned_identity.reader.id
  }
  registry {
    server               = "other.example"
    username             = "someone"
    password_secret_name = "plain"
  }
  ingress {
    external_enabled           = true
    allow_insecure_connections = true
    target_port                = 8080
    transport                  = "auto"
    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
    ip_security_restriction {
      name             = "here"
      action           = "Allow"
      ip_address_range = "127.0.0.0/8"
    }
  }
  template {
    min_replicas                     = 1
    max_replicas                     = 3
    cooldown_period_in_seconds       = 60
    polling_interval_in_seconds      = 15
    termination_grace_period_seconds = 5
    init_container {
      name    = "prepare"
      image   = var.image
      cpu     = 0.25
      memory  = "0.5Gi"
      command = ["/bin/true"]
    }
    container {
      name   = "main"
      image  = var.image
      cpu    = 0.25
      memory = "0.5Gi"
      env {
        name  = "GREETING"
        value = var.greeting
      }
      env {
        name        = "DB"
        secret_name = "db"
      }
      env {
        name        = "PLAIN"
        secret_name = "plain"
      }
      readiness_probe {
        transport        = "HTTP"
        port             = 8080
        path             = "/?GREETING"
        interval_seconds = 1
      }
      liveness_probe {
        transport = "TCP"
        port      = 8080
      }
      volume_mounts {
        name = "work"
        path = "/work"
      }
    }
    volume {
      name         = "work"
      storage_type = "EmptyDir"
    }
    http_scale_rule {
      name                = "requests"
      concurrent_requests = "20"
    }
  }
  depends_on = [azurerm_role_assignment.reader]
}
output "fqdn" { value = azurerm_container_app.shop.ingress[0].fqdn }
output "principal" { value = var.own ? azurerm_container_app.shop.identity[0].principal_id : "" }
`

// TestTerraformManagesAContainerApp is the daily work of the azurerm provider with
// container apps, and a plan while one is stopped.
func TestTerraformManagesAContainerApp(t *testing.T) {
	provider := programs(t)
	p := platformtest.Start(t, platform.Config{Containers: platform.ContainersConfig{Engine: platform.EngineProcess, ProcessAsRoot: true}})
	tf := newWorkspace(t, p, provider, containerConfig)
	tf.prepareContainers(t, p)

	tf.must(t, 0, "apply", "-auto-approve")
	tf.must(t, 0, "plan", "-detailed-exitcode")
	first := latestRevision(t, p)
	if tf.output(t, "principal") == "" {
		t.Error("Terraform read no principal")
	}
	shopSays(t, p, tf.output(t, "fqdn"), "GREETING", "hello")
	shopSays(t, p, tf.output(t, "fqdn"), "DB", "from-the-vault")
	shopSays(t, p, tf.output(t, "fqdn"), "PLAIN", "by-value")

	shop := shopID(p)
	p.Do(t, http.MethodPost, shop+"/stop", nil, nil)
	tf.must(t, 0, "plan", "-detailed-exitcode")
	p.Do(t, http.MethodPost, shop+"/start", nil, nil)

	if out := tf.must(t, 2, "plan", "-detailed-exitcode", "-var", "greeting=bye"); !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") {
		t.Errorf("a changed variable is planned as\n%s", out)
	}
	changed := []string{"-var", "greeting=bye", "-var", "zone=two", "-var", "own=false"}
	tf.must(t, 0, append([]string{"apply", "-auto-approve"}, changed...)...)
	tf.must(t, 0, append([]string{"plan", "-detailed-exitcode"}, changed...)...)
	shopSays(t, p, tf.output(t, "fqdn"), "GREETING", "bye")
	if now := latestRevision(t, p); now == first {
		t.Errorf("another template made no revision: %s", now)
	}
	tf.must(t, 0, append([]string{"destroy", "-auto-approve"}, changed...)...)
	if err := p.Client.Do(t.Context(), http.MethodGet, shop, nil, nil); err == nil {
		t.Error("the container app is still there")
	}
}

func shopID(p *platformtest.Platform) string {
	return p.Subscription() + "/resourceGroups/rg/providers/Microsoft.App/containerApps/shop"
}

// latestRevision asks the management API. Terraform's outputs have the revision that
// a plan knew of.
func latestRevision(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var a struct {
		Properties struct {
			Latest string `json:"latestRevisionName"`
		} `json:"properties"`
	}
	p.Do(t, http.MethodGet, shopID(p), nil, &a)
	return a.Properties.Latest
}

// prepareContainers makes the image, and a vault in a group that is not Terraform's.
func (tf *workspace) prepareContainers(t *testing.T, p *platformtest.Platform) {
	t.Helper()
	image := filepath.Join(tf.dir, "image")
	must(t, os.MkdirAll(image, 0o700))
	program, err := os.Executable()
	must(t, err)
	text, err := json.Marshal(map[string]any{"command": []string{program}, "env": map[string]string{containerSetting: "1"}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(image, "container.json"), text, 0o600))

	group := p.Subscription() + "/resourceGroups/vaults"
	vault := group + "/providers/Microsoft.KeyVault/vaults/boxes"
	p.Do(t, http.MethodPut, group, map[string]any{"location": "local"}, nil)
	p.Do(t, http.MethodPut, vault, map[string]any{"location": "local", "properties": map[string]any{
		"sku": map[string]string{"family": "A", "name": "standard"}, "tenantId": p.Cred.TenantID, "enableRbacAuthorization": true}}, nil)
	p.Do(t, http.MethodPut, vault+"/secrets/db", map[string]any{"properties": map[string]any{"value": "from-the-vault"}}, nil)
	text, err = json.Marshal(map[string]string{"image": image, "vault": vault})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(tf.dir, "terraform.tfvars.json"), text, 0o600))
}

// shopSays waits until the app has a variable of a value, asked through its host name.
func shopSays(t *testing.T, p *platformtest.Platform, host, name, want string) {
	t.Helper()
	host, _, _ = strings.Cut(host, ":")
	platformtest.Until(t, name+" is "+want, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Node.FunctionsAddr()+"/?"+name, nil)
		must(t, err)
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && answer.StatusCode == http.StatusOK && string(text) == want
	})
}
